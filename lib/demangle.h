/* Names of functions as people say them, from those in symbol tables. */
#ifndef DEMANGLE_H
#define DEMANGLE_H

#include <stddef.h>

/* Writes the name of a function to out: of C++ (and of Rust, which mangles alike) with its scope
 * but without parameters and template arguments ("Cache::insert", "(anonymous namespace)::load"),
 * of all without what linkers and optimisers put behind it ("@@GLIBC_2.34", ".isra.0").  Cut at
 * cap bytes.  C++ needs its runtime library, which is opened when the first such name comes;
 * without it the name stays mangled. */
void demangle(const char *symbol, char *out, size_t cap);

#endif
