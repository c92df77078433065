# paf: build, test, lint. `make help` lists the targets.

# ---- settings ------------------------------------------------------------------------------------------------------

CC       = mpicc
GEMM     = onednn#     or cblas
SAN      =#            address,undefined
ARCH     = native#     what -march= gets
BUILD    = build$(if $(SAN),-san)$(if $(filter cblas,$(GEMM)),-cblas)
MPIRUN   = launch/mpi

PKG      = hdf5-serial jansson inih libutf8proc
CPPFLAGS = -Isrc $(shell pkg-config --cflags $(PKG)) -D_GNU_SOURCE
CFLAGS   = -std=gnu11 -O3 -g -march=$(strip $(ARCH)) -fopenmp -fno-math-errno -Wall -Wextra -Werror -Wvla -MMD -MP
LDLIBS   = $(shell pkg-config --libs $(PKG)) -lxxhash -lm
LDFLAGS  = -fopenmp

ifeq ($(strip $(GEMM)),cblas)
CPPFLAGS += -DPAF_GEMM_CBLAS $(shell pkg-config --cflags openblas)
LDLIBS   += $(shell pkg-config --libs openblas)
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
RANKS    = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/*/ranks_*.c))# under mpirun, on the numbers their `// ranks:` line gives

# ---- targets -------------------------------------------------------------------------------------------------------

.PHONY: all tests test lint format clean help
.SECONDARY:
all: $(BUILD)/paf

$(BUILD)/paf: $(CLI) $(BUILD)/libpaf.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/libpaf.a: $(OBJECTS)
	rm -f $@ && ar rcs $@ $^

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libpaf.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

tests: all $(TESTS) $(RANKS)
test: tests
	BUILD=$(BUILD) tests/run

clean:
	rm -rf build build-san build-cblas build-san-cblas compile_commands.json

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
