# paf: build, test, lint. `make help` lists the targets.

# ---- settings ------------------------------------------------------------------------------------------------------

CC       = mpicc
GEMM     = onednn#     or cblas
SAN      =#            address,undefined
ARCH     = native#     what -march= gets
BUILD    = build$(if $(SAN),-san)$(if $(filter cblas,$(GEMM)),-cblas)
DEPS     =#                folders with include/ and lib/ of their own: where libraries are that the system has not
Q        = $(if $(V),,@)#   V=1 shows the commands

pkg      = $(shell PKG_CONFIG_PATH='$(subst $() ,,$(DEPS:%=%/lib/pkgconfig:%/lib64/pkgconfig:))'"$$PKG_CONFIG_PATH" \
           pkg-config $(1))
HDF5     = $(if $(call pkg,--modversion hdf5-serial 2>/dev/null),hdf5-serial,hdf5)# Debian's names first
PBLAS    = $(if $(call pkg,--modversion scalapack-openmpi 2>/dev/null),scalapack-openmpi,scalapack)
PKG     := $(HDF5) jansson inih libutf8proc libpcre2-8 $(PBLAS) $(if $(filter cblas,$(GEMM)),openblas)
PKG_CPP := $(call pkg,--cflags $(PKG))# asked once, not for each file
PKG_LIB := $(call pkg,--libs $(PKG))
CPPFLAGS = -Isrc $(DEPS:%=-I%/include) $(PKG_CPP) -D_GNU_SOURCE
CFLAGS   = -std=gnu11 -O3 -g -march=$(strip $(ARCH)) -fopenmp -fno-math-errno -fno-trapping-math -Wall -Wextra \
           -Werror -Wvla -Wno-pass-failed -Wa,-I$(CURDIR)/src -MMD -MP
LDLIBS   = $(PKG_LIB) -lxxhash -lm
LDFLAGS  = -fopenmp $(foreach d,$(DEPS),$(foreach l,lib lib64,-L$d/$l -Wl,-rpath,$d/$l))

ifeq ($(strip $(GEMM)),cblas)
CPPFLAGS += -DPAF_GEMM_CBLAS
else
LDLIBS   += -ldnnl
endif
ifneq ($(strip $(SAN)),)
CFLAGS   += -O1 -fsanitize=$(SAN) -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS  += -fsanitize=$(SAN)
endif

# ---- files ---------------------------------------------------------------------------------------------------------

SOURCES  = $(filter-out src/cli/%,$(wildcard src/*/*.c))
OBJECTS  = $(SOURCES:%.c=$(BUILD)/%.o)
CLI      = $(patsubst %.c,$(BUILD)/%.o,$(wildcard src/cli/*.c))
TESTS    = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/*/test_*.c))#  one rank
RANKS    = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/*/ranks_*.c))# under mpirun, on the numbers of ranks they name
COMPARE  = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/compare/*.c))# run by scripts of their own, beside other programs

# ---- targets -------------------------------------------------------------------------------------------------------

.PHONY: all tests test test-transports valgrind lint format clean help
.SECONDARY:
all: $(BUILD)/paf ## the program (the default)

$(BUILD)/paf: $(CLI) $(BUILD)/libpaf.a
	@echo "  link $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/libpaf.a: $(OBJECTS)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  cc   $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/src/huggingface/export.o: src/huggingface/modeling_paf.py# which becomes part of it

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libpaf.a
	@echo "  link $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

tests: all $(TESTS) $(RANKS) $(COMPARE) ## the program and all tests, without running them

test: tests ## build and run all tests
	BUILD=$(BUILD) tests/run

test-transports: tests ## the tests of several ranks, with single-copy off and over TCP
	BUILD=$(BUILD) tests/run -t

# Valgrind 3.19 knows no AVX-512: what it runs is built for less, in a folder of its own.
valgrind: ## the tests of one rank under valgrind
	$(MAKE) BUILD=build-valgrind ARCH=x86-64-v3 tests
	BUILD=build-valgrind tests/run -v

lint: ## formatting, and the rules of the house that a script can check
	tests/lint

format: ## let clang-format write the sources anew
	clang-format -i $(wildcard src/*/*.[ch] tests/*.h tests/*/*.[ch])

# For clangd and its like.
compile_commands.json: Makefile $(wildcard src/*/*.c tests/*/*.c) ## how each file is compiled, for editors
	@for file in $(filter %.c,$^); do \
	    printf '{"directory": "%s", "file": "%s", "command": "cc %s -c %s"},\n' '$(CURDIR)' $$file \
	        '$(shell $(CC) --showme:compile) $(CPPFLAGS) $(filter-out -MMD -MP,$(CFLAGS))' $$file; \
	done | sed '1s/^/[/; $$s/,$$/]/' > $@

clean: ## remove what was built
	rm -rf build build-san build-cblas build-san-cblas build-valgrind compile_commands.json

help: ## this list
	@awk -F ' ## ' '/^[a-z_.-]+:.* ## / { sub(/:.*/, "", $$1); printf "  make %-22s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  GEMM=cblas                  any CBLAS instead of oneDNN'
	@echo '  SAN=address,undefined       with sanitizers, in build-san'
	@echo '  DEPS="FOLDER ..."           where libraries are that the system has not, as FOLDER/include and FOLDER/lib'
	@echo '  ARCH=x86-64-v3              what -march= gets, native otherwise'
	@echo '  BUILD=FOLDER                where everything goes'

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
