/* Names of functions out of symbol tables. */
#include "demangle.h"

#include <dlfcn.h>

#include "unit.h"

static void same(const char *symbol, const char *want)
{
	char got[256];

	demangle(symbol, got, sizeof got);
	CHECK_STR(got, want);
}

static void names_of_c_lose_versions_and_clones(void)
{
	same("node_new", "node_new");
	same("__libc_start_main@@GLIBC_2.34", "__libc_start_main");
	same("load.isra.0", "load");
	same("load.constprop.0.cold", "load");
	same("main.grow", "main.grow"); /* as Go names them */
	same("", "");
}

static void names_of_cpp_lose_parameters(void)
{
	same("_Z8node_newi", "node_new");
	same("_ZN5Cache6insertEi", "Cache::insert");
	same("_ZN12_GLOBAL__N_14loadEv", "(anonymous namespace)::load");
	same("_ZNK5CacheIiE4findERKi", "Cache::find");
	same("_Z4makeI7SessionJiEEvv", "make"); /* void make<Session, int>() */
	same("_Znwm", "operator new");
	same("_Znam", "operator new[]");
	same("_ZN1AclEv", "A::operator()");
	same("_ZN1AlsEi", "A::operator<<");
	same("_ZZ4stepiENKUlvE_clEv", "step::{lambda#1}::operator()");
	same("_ZN1AC2Ev.cold", "A::A");
	same("_Znot a name", "_Znot a name");
}

static void what_does_not_fit_is_cut(void)
{
	char got[6];

	demangle("_ZN5Cache6insertEi", got, sizeof got);
	CHECK_STR(got, dlopen("libstdc++.so.6", RTLD_NOW) ? "Cache" : "_ZN5C");
	demangle("node_new", got, sizeof got);
	CHECK_STR(got, "node_");
}

int main(void)
{
	RUN(names_of_c_lose_versions_and_clones);
	if (dlopen("libstdc++.so.6", RTLD_NOW) || dlopen("libc++abi.so.1", RTLD_NOW))
		RUN(names_of_cpp_lose_parameters);
	else
		SKIP(names_of_cpp_lose_parameters, "no runtime library of C++");
	RUN(what_does_not_fit_is_cut);
	return unit_end();
}
