# The bitnet toolkit.
#
# Targets
#   make                 all programs, in build/
#   make tests           the test programs and what they need, in build/tests/
#   make fuzz            the fuzz targets only (needs clang with libFuzzer)
#   make check           every test; one line per suite, then "N passed, N failed, N skipped"
#   make check-leaks     bitnet-leakcheck and other checkers on the whole leak catalogue
#   make check-arm       the kernel tests and the small model on arm64, under qemu
#   make cuda            the kernels for GPUs only, when nvcc is found
#   make check-cuda      what only a GPU can tell: kernels, vectors, sanitizers, speed
#   make lint            clang-format, cppcheck and clang-tidy
#   make bench           this machine's speed: a 2B shape, shares of the ceilings
#   make bench-memory    the allocator beside glibc, mimalloc, jemalloc and tcmalloc
#   make install         programs, manual pages and the default model, below DESTDIR/PREFIX
#   make uninstall       removes what install put there
#   make clean           removes build/
#   make help            this text
#
# Variables
#   PREFIX=/usr/local    where to install           DESTDIR=  staging directory in front of it
#   CC=cc  CFLAGS='-O2 -g'                          the compiler and its optimisation flags
#   SANITIZE=address,undefined                      builds in build/san-...; use with check
#   VALGRIND=1                                      with check: the subset of tests under valgrind
#   WERROR=1                                        warnings are errors
#   CUDA=auto|0|1                                   the CUDA kernels, when nvcc is found
#
# One file, not recursive: every .c in cmd/ is a program, lib/ and kernels/ make libcommon.a, every
# tests/unit_*.c a test program.

VERSION = 0.1.0
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= cc
AR ?= ar
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g

ARCH := $(shell $(CC) -dumpmachine | cut -d- -f1)
BUILD ?= build$(if $(SANITIZE),/san-$(subst $(comma),-,$(SANITIZE)))$(if $(filter-out $(shell uname -m),$(ARCH)),/$(ARCH))
comma := ,

PACKAGES = libpcre2-8 jansson libxxhash
# OpenBLAS is opened at run time, by the models that need it: only its header is used here.
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) openblas 2>/dev/null)
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null || echo -lpcre2-8 -ljansson -lxxhash)

# Option tables leave out the fields behind the last one that a row needs.
WARN = -Wall -Wextra -Wshadow -Wconversion -Wno-missing-field-initializers $(if $(WERROR),-Werror)
# Contraction would make a result depend on which compiler fused which product: kernels that want
# fused multiply-adds say so.
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -DBITNET_VERSION='"$(VERSION)"' \
	-DBITNET_SHARE='"$(PREFIX)/share/bitnet"' \
	-ffp-contract=off -fno-omit-frame-pointer -Ilib -Ikernels $(PKG_CFLAGS) $(WARN) $(CFLAGS) \
	$(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all)
LDLIBS = $(PKG_LIBS) -lpthread -lm -ldl
ALL_LDFLAGS = $(LDFLAGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE))

# Each instruction set is compiled with its own flags and chosen at run time.
KERNEL_SETS = scalar
ifneq ($(filter x86_64 amd64,$(ARCH)),)
KERNEL_SETS += avx2 avxvnni avx512 vbmi zen4 amx
endif
ifneq ($(filter aarch64 arm64,$(ARCH)),)
KERNEL_SETS += neon
endif
# Tiles of registers are written as loops, which -O3 unrolls.
FLAGS_avx2 = -O3 -mavx2 -mfma -mf16c
FLAGS_avxvnni = $(FLAGS_avx2) -mavxvnni
FLAGS_avx512 = $(FLAGS_avx2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
FLAGS_vbmi = $(FLAGS_avx512) -mavx512vbmi
FLAGS_zen4 = $(FLAGS_vbmi)
FLAGS_amx = $(FLAGS_vbmi) -mamx-tile -mamx-int8
FLAGS_neon = -O3 -march=armv8.2-a+dotprod+fp16

# The kernels for GPUs, one image for all builds: code for each card that we name, and PTX for those
# to come.  It is linked in where nvcc is found, and used where there is a driver.
CUDA ?= auto
NVCC ?= $(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA_CODE = 80 86 89 90
CUDA_FLAGS = $(foreach c,$(CUDA_CODE),-gencode arch=compute_$c,code=sm_$c) -gencode arch=compute_90,code=compute_90 \
	-fmad=false $(if $(WERROR),-Werror all-warnings)
CUDA_IMAGE = build/cuda/image.fatbin
ifneq ($(CUDA),0)
ifneq ($(NVCC),)
WITH_CUDA = 1
else ifeq ($(CUDA),1)
$(error CUDA=1, but there is no nvcc; NVCC= says where it is)
endif
endif

PROGRAMS := $(patsubst cmd/%.c,$(BUILD)/%,$(wildcard cmd/*.c))
LIB_SRC := $(wildcard lib/*.c kernels/*.c kernels/cuda/*.c) $(foreach s,$(KERNEL_SETS),$(wildcard kernels/$(s)/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/obj/%.o)
UNITS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit_*.c tests/kernels.c tests/cuda_kernels.c tests/gen_*.c tests/leak_shown.c))
BENCHES := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/bench_*.c))
MAN := $(wildcard man/*.[1-8])

all: $(PROGRAMS) $(BUILD)/libbitnet-ledger.so

$(BUILD)/libcommon.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(foreach s,$(KERNEL_SETS),$(foreach o,obj fuzz/obj,$(eval $(BUILD)/$(o)/kernels/$(s)/%.o: SET_FLAGS = $$(FLAGS_$(s)))))
$(BUILD)/obj/kernels/%.o: ALL_CFLAGS += -DKERNEL_SETS_$(ARCH)

# Without -fmad=false products would be fused into sums that kernels/scalar rounds twice.
$(CUDA_IMAGE): kernels/cuda/image.cu Makefile
	@mkdir -p $(@D)
	$(NVCC) -fatbin $(CUDA_FLAGS) -MMD -MP -MF $(@:.fatbin=.d) -o $@ $<

ifdef WITH_CUDA
$(foreach o,obj fuzz/obj,$(eval $(BUILD)/$(o)/kernels/cuda/image.o: SET_FLAGS = -DCUDA_IMAGE='"$(CUDA_IMAGE)"'))
$(foreach o,obj fuzz/obj,$(eval $(BUILD)/$(o)/kernels/cuda/image.o: $(CUDA_IMAGE)))
endif

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(SET_FLAGS) -MMD -MP -c -o $@ $<

# Programs know where their shared files will lie: another PREFIX compiles them again.
$(patsubst cmd/%.c,$(BUILD)/obj/cmd/%.o,$(wildcard cmd/*.c)): $(BUILD)/prefix
$(BUILD)/prefix: always
	@mkdir -p $(@D)
	@echo '$(PREFIX)' | cmp -s - $@ || echo '$(PREFIX)' >$@

$(BUILD)/bitnet-%: $(BUILD)/obj/cmd/bitnet-%.o $(BUILD)/libcommon.a
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

# Only its reports need names of code addresses.
$(BUILD)/bitnet-leakcheck: LDLIBS += -ldw

$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS)

# The kernels for GPUs once more, as C, and the machine that they see.
CUDA_CHECKS = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/cuda/check*.c))
EMULATE = $(BUILD)/obj/kernels/cuda/emulated.o $(BUILD)/obj/tests/cuda/emulate.o
$(EMULATE) $(CUDA_CHECKS) $(patsubst %,$(BUILD)/obj/tests/%.o,unit_cuda cuda_kernels): SET_FLAGS = -Itests/cuda -Itests
$(BUILD)/obj/kernels/cuda/emulated.o: kernels/cuda/image.cu Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -O2 $(SET_FLAGS) -MMD -MP -x c -c -o $@ $<
$(BUILD)/tests/unit_cuda: $(EMULATE) $(CUDA_CHECKS)
$(BUILD)/tests/cuda_kernels: $(CUDA_CHECKS)

# The ledger that bitnet-leakcheck preloads into commands: it stands alone, shows only what it
# stands in for, and its dlsym is in assembler.
LEDGER_OBJ := $(patsubst %,$(BUILD)/obj/%.o,$(basename $(wildcard lib/preload/*.c lib/preload/dlsym_$(ARCH).S)))
$(BUILD)/obj/lib/preload/%.o: SET_FLAGS = -O2 -fPIC -fvisibility=hidden -fno-builtin-malloc -fexceptions -fno-sanitize=all
$(BUILD)/obj/lib/preload/%.o: lib/preload/%.S
	@mkdir -p $(@D)
	$(CC) -c -o $@ $<
$(BUILD)/libbitnet-ledger.so: $(LEDGER_OBJ)
	$(CC) $(LDFLAGS) -shared -static-libgcc -Wl,--exclude-libs,ALL -Wl,-z,now -o $@ $^ -ldl -lpthread

# Fuzz targets: the library once more, by a compiler that has libFuzzer; none where there is no such.
FUZZ_CC ?= clang
FUZZ_FLAGS = -fsanitize=address,undefined -fno-sanitize-recover=all
ifneq ($(filter tests check fuzz,$(MAKECMDGOALS)),)
FUZZ := $(shell echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return !d || !n; }' | \
	$(FUZZ_CC) -fsanitize=fuzzer,address -x c - -o /dev/null 2>/dev/null && \
	echo $(patsubst tests/fuzz/%.c,$(BUILD)/tests/%,$(wildcard tests/fuzz/fuzz_*.c)))
endif

$(BUILD)/fuzz/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(FUZZ_CC) $(ALL_CFLAGS) $(SET_FLAGS) -O1 -fsanitize=fuzzer-no-link $(FUZZ_FLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/fuzz/libcommon.a: $(LIB_SRC:%.c=$(BUILD)/fuzz/obj/%.o)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/tests/fuzz_%: $(BUILD)/fuzz/obj/tests/fuzz/fuzz_%.o $(BUILD)/fuzz/libcommon.a
	@mkdir -p $(@D)
	$(FUZZ_CC) -fsanitize=fuzzer $(FUZZ_FLAGS) -o $@ $^ $(LDLIBS)

# The leak catalogue: programs whose frames and calls of malloc stay as written, and what is
# preloaded into them.
LEAKS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/leaks/*.c))
LEAKS_PRELOAD = $(BUILD)/tests/leaks/libcuda.so.1 $(BUILD)/tests/leaks/counter.so
$(BUILD)/obj/tests/leaks/%.o: SET_FLAGS = -O1 -g -fno-builtin -fno-optimize-sibling-calls
$(LEAKS): ALL_LDFLAGS += -rdynamic
STANDIN = $(wildcard tests/leaks/preload/cuda*.c)
$(BUILD)/tests/leaks/libcuda.so.1: $(STANDIN) tests/leaks/preload/cuda.h kernels/cuda/cuda.h
$(BUILD)/tests/leaks/counter.so: tests/leaks/preload/counter.c
$(LEAKS_PRELOAD):
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE -Ilib $(WARN) -O2 -g -fno-builtin -fPIC -shared \
		-Wl,-soname,$(@F) -o $@ $(filter %.c,$^) -ldl
leaks: $(LEAKS) $(LEAKS_PRELOAD)

# The stand-in for a driver once more, with the kernels themselves: models run on it.
$(BUILD)/tests/cuda/libcuda.so.1: $(STANDIN) tests/cuda/emulate.c kernels/cuda/cuda.c kernels/cuda/pack.c \
		$(wildcard kernels/cuda/*.cu kernels/cuda/*.h tests/cuda/*.h tests/leaks/preload/*.h)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE -Ilib -Ikernels -Itests/cuda $(WARN) -ffp-contract=off -O2 -g -fPIC \
		-shared -Wl,-soname,$(@F) -o $@ $(filter %.c,$^) -x c kernels/cuda/image.cu -lm
$(BUILD)/tests/cuda/libcublas.so.13: tests/cuda/cublas.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) -O2 -g -fPIC -shared -Wl,-soname,$(@F) -o $@ $<

check-leaks: all leaks
	@$(MAKE) -s SANITIZE=leak leaks
	@scripts/leak-catalogue -b $(BUILD)

tests: $(UNITS) $(FUZZ) leaks $(patsubst %,$(BUILD)/tests/cuda/%,libcuda.so.1 libcublas.so.13)

fuzz: $(FUZZ)

check: all tests
	@scripts/run-tests "$(BUILD)"

check-arm: all
	@scripts/arm-tests "$(BUILD)"

# The image alone: with WERROR=1 no warning passes, for any of the cards.
cuda: $(if $(WITH_CUDA),$(CUDA_IMAGE))
	$(if $(WITH_CUDA),,@echo "cuda: no nvcc, or CUDA=0: the kernels for GPUs are not compiled")

check-cuda: all tests
	@scripts/cuda-tests "$(BUILD)"

bench: all
	$(BUILD)/bitnet-bench --shape 2b-4t --head full,screened --load mmap,dense -d 0,4096

# What an allocation costs, beside glibc and the allocators of scripts/packages bench.
bench-memory: all $(BENCHES)
	@scripts/bench-memory $(BUILD)

lint:
	@scripts/lint

AT = $(DESTDIR)$(PREFIX)
install: all
	install -d "$(AT)/bin" "$(AT)/share/bitnet" $(patsubst %,"$(AT)/share/man/man%",1 5 7)
	install -m 755 $(PROGRAMS) "$(AT)/bin/"
	install -d "$(AT)/lib/bitnet"
	install -m 755 $(BUILD)/libbitnet-ledger.so "$(AT)/lib/bitnet/"
	install -m 644 man/*.schema.json "$(AT)/share/bitnet/"
	install -m 644 tests/data/shakespeare.gguf "$(AT)/share/bitnet/"
	for m in $(MAN); do install -m 644 "$$m" "$(AT)/share/man/man$${m##*.}/" || exit 1; done

uninstall:
	rm -f $(patsubst $(BUILD)/%,"$(AT)/bin/%",$(PROGRAMS)) "$(AT)/share/bitnet/shakespeare.gguf"
	for m in $(MAN); do rm -f "$(AT)/share/man/man$${m##*.}/$${m##*/}"; done
	rm -f "$(AT)/lib/bitnet/libbitnet-ledger.so" $(patsubst man/%,"$(AT)/share/bitnet/%",$(wildcard man/*.schema.json))
	-rmdir "$(AT)/share/bitnet" "$(AT)/lib/bitnet" 2>/dev/null

clean:
	rm -rf build

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//; p' Makefile

always:
.PHONY: check-arm cuda check-cuda bench leaks check-leaks always all tests fuzz check bench-memory lint install uninstall clean help
.SECONDARY:
-include $(shell find $(BUILD) build/cuda -name '*.d' 2>/dev/null)
