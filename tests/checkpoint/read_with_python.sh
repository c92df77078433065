#!/bin/bash
# Reads a tensor with the reader that checkpoints/README.md shows:
#
#   tests/checkpoint/read_with_python.sh CHECKPOINT TENSOR PART
#
# Prints its shape on a line, then its elements as 8 hexadecimal digits each (the float's bits), a line each. Exit code
# 77 where there is no python3 with h5py.
set -eu
python=''
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import h5py, numpy' 2>/dev/null; then python=$candidate && break; fi
done
[ -n "$python" ] || exit 77
readme=$(dirname "$0")/../../checkpoints/README.md
{
    sed -n '/^```python$/,/^```$/{/^```/d;/^if __name__/,$d;p}' "$readme"
    cat <<'END'
tensor = read_tensor(*sys.argv[1:])
print(*tensor.shape)
for bits in tensor.reshape(-1).view("uint32"):
    print(f"{bits:08x}")
END
} | "$python" - "$@"
