#!/bin/bash
# Prints a folder of token shards with the reader that checkpoints/TOKENS.md shows:
#
#   tests/data/read_tokens.sh OUTPUT/train
#
# A line of ids for each line, an empty line behind each document. Exit code 77 where there is no python3 with h5py.
set -eu
python=''
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import h5py' 2>/dev/null; then python=$candidate && break; fi
done
[ -n "$python" ] || exit 77
sed -n '/^```python$/,/^```$/{/^```/d;p}' "$(dirname "$0")/../../checkpoints/TOKENS.md" | "$python" - "$@"
