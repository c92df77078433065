#!/bin/bash
# Breaks each rule of tests/lint once, in a small project made for it, and looks whether lint says so, and nothing else.
set -eu
command -v clang-format >/dev/null || { echo "no clang-format here" && exit 77; }

here=$PWD
cd "$(mktemp -d)"
cp "$here/.clang-format" .
mkdir -p src/{base,tensor,storage,parallel,data,model,train} tests/model launch configs/tasks
printf 'all:\n\ttrue\n' >Makefile
echo '#include "base/base.h"' >src/tensor/tensor.h
echo '#include "tensor/tensor.h" // all that is below' >src/model/layer.c
printf '// MPI_Send( and free( are no calls here.\nconst char *t = "malloc( MPI_Init";\n' >src/train/loop.c
printf 'void *memory(void) { return malloc(1); }\n' >src/base/memory.c
printf 'json_free(x);\nfree(x); // foreign memory: a library made it\n' >src/storage/json.c
printf '// a\n// ranks: 1 2\n' >tests/model/ranks_a.c

failures=0
# expect MESSAGE: lint ends well without one, and otherwise with exactly this one
expect() {
    local said
    said=$("$here/tests/lint" "$PWD") && code=0 || code=1
    if [ "$said" != "$1" ] || [ "$code" != "$([ -z "$1" ] && echo 0 || echo 1)" ]; then
        printf 'expected: %s\nlint said: %s\n' "$1" "$said"
        failures=$((failures + 1))
    fi
}
# broken FILE TEXT MESSAGE: with a file that holds TEXT (printf's), lint says MESSAGE
broken() {
    # shellcheck disable=SC2059 # the text is a format
    printf "$2" >"$1"
    expect "$1$3"
    rm "$1"
}

expect ''
broken src/data/a.c 'int  a;\n' ':1: not as clang-format has it'
broken tests/model/test_a.c 'int  a;\n' ':1: not as clang-format has it'
broken launch/a 'true\ntrue \n' ':2: blanks at the end of the line'
broken launch/a 'if true; then\n\ttrue\nfi\n' ':2: a tab'
broken ./a.md "$(printf 'é%.0s' {1..121})\n" ':1: longer than 120 columns'
broken configs/tasks/a.ini 'key = value' ':1: no newline at the end of the file'
broken src/tensor/a.c '#include "storage/storage.h"\n' \
    ':1: tensor may not include storage/storage.h: includes point one way'
broken src/base/a.c '#include "tensor/tensor.h"\n' ':1: base may not include tensor/tensor.h: includes point one way'
broken src/data/a.c '#include "parallel/parallel.h"\n' ':1: data may not include parallel/parallel.h: data knows no MPI'
broken src/model/a.c '#include "parallel/internal.h"\n' ':1: parallel/internal.h is for parallel alone'
broken src/model/a.c '#include "model.h"\n' ':1: include "room/name.h", not "model.h"'
broken src/model/a.c '\nint a = MPI_SUM;\n' ':2: MPI_SUM belongs to parallel'
broken src/model/a.c 'int a = Cblacs_gridexit(1);\n' ':1: Cblacs_gridexit belongs to parallel'
broken src/model/a.c 'int a = psgemm_(1);\n' ':1: psgemm_ belongs to parallel'
broken src/model/a.c 'int a = H5Fopen();\n' ':1: H5Fopen belongs to storage'
broken src/model/a.c 'int a = fsync(1);\n' ':1: fsync belongs to storage'
broken src/model/a.c 'int a = dnnl_sgemm();\n' ':1: dnnl_sgemm belongs to tensor'
broken src/model/a.c 'int *a = calloc(1, 1);\n' ':1: calloc belongs to base'
broken src/model/a.c '/* malloc(\ncalloc( */\nint a = free(b);\n' ':3: free belongs to base'
mkdir src/attic
broken src/attic/a.c 'int a;\n' ':1: a room that DESIGN.md does not have: attic'
broken tests/model/ranks_b.c '// On several ranks.\n// ranks: many\n' \
    ':2: should say on how many ranks it runs, as in // ranks: 1 2 4'

exit $((failures > 0))
