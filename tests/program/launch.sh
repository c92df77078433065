#!/bin/bash
# launch/mpi, with shells for ranks: exit codes, what is said, signals, settings, and that nothing is left behind.
# shellcheck disable=SC2016,SC2053 # what is in single quotes is for the ranks; patterns are meant
set -u
failures=0

# expect WHAT WANTED GOT
expect() {
    [[ $3 == $2 ]] && return # WANTED may be a pattern
    printf '%s: expected %s, got %s\n' "$1" "$2" "$3"
    failures=$((failures + 1))
}
# tries WHAT CODE MESSAGE COMMAND...
tries() {
    local what=$1 code=$2 message=$3 said
    shift 3
    said=$("$@" 2>&1)
    expect "$what: exit code" "$code" $?
    expect "$what: message" "$message" "$said"
}

for ranks in 1 2 3; do
    tries "$ranks ranks end well" 0 '' launch/mpi $ranks true
    tries "$ranks ranks have spoken" 2 '' launch/mpi $ranks sh -c 'exit 2'
done
tries "threads" 0 $'1\n1' env -u OMP_NUM_THREADS launch/mpi 2 sh -c 'echo $OMP_NUM_THREADS'
tries "the caller's threads" 0 $'5\n5' env OMP_NUM_THREADS=5 launch/mpi 2 sh -c 'echo $OMP_NUM_THREADS'
tries "failure inside" 1 'launch/mpi: ended with exit code 1; *' launch/mpi 2 sh -c 'exit 1'
tries "killed" 137 'launch/mpi: a rank was ended by signal KILL' launch/mpi 2 sh -c 'kill -KILL $$'
tries "no number" 2 'Runs a program on N ranks*' launch/mpi true
tries "no such program" 2 'launch/mpi: build/no-such-program *' launch/mpi 2 build/no-such-program
tries "wrong flags" '[1-9]*' '*no-such-option*' env PAF_MPI_FLAGS=--no-such-option launch/mpi 2 true

# Two ranks wait until they are told to save. (Bash starts what is in the background deaf to INT: env mends that.)
rank='trap "echo saved; exit 0" USR1; echo ready; while :; do sleep 0.05; done'
for signal in TERM INT USR1; do
    log=$(mktemp)
    env --default-signal launch/mpi 2 sh -c "$rank" >"$log" 2>&1 &
    launcher=$!
    until [ "$(grep -c ready "$log")" = 2 ]; do sleep 0.05; done
    kill -$signal $launcher
    wait $launcher
    expect "after $signal: exit code" 0 $?
    expect "after $signal: ranks that saved" 2 "$(grep -c saved "$log")"
    expect "after $signal: folders" '' "$(find /dev/shm "${TMPDIR:-/tmp}" -maxdepth 1 -name "paf-mpi-$launcher-*")"
done

exit $((failures > 0))
