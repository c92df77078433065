#!/bin/bash
# launch/hosts: ranks over virtual hosts. MPI sees several nodes and sends messages, answers are those of one node, and
# nothing is left behind, however a run ends.
# shellcheck disable=SC2016 # what is in single quotes is for the ranks
. tests/support.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export TMPDIR=$folder # so that what is ours is known by it

code=0
launch/hosts 1 true 2>"$folder/refusal" || code=$?
[ $code = 0 ] || { [ $code = 2 ] && cat "$folder/refusal" && exit 77; }

# Processes on a host know its folder; when none is left, neither are the network namespaces.
left_behind() { grep -lzsF "PAF_HOSTS_AT=$folder/" /proc/[0-9]*/environ || true; }
nothing_left() {
    while [ -n "$(left_behind)" ]; do sleep 0.05; done
    [ -z "$(find "$folder" -maxdepth 1 -name 'paf-*')" ] || die "left behind: $(ls "$folder")"
}

echo "hosts"
ranks() { sort "$folder/output" | paste -sd ' '; }
ends 0 host launch/hosts 2 launch/mpi 4 sh -c 'echo $OMPI_COMM_WORLD_RANK:$(hostname)'
[ "$(ranks)" = "0:host1 1:host1 2:host2 3:host2" ] || die "ranks lie otherwise: $(ranks)"
ends 0 host launch/hosts 3 launch/mpi 5 sh -c 'echo $OMPI_COMM_WORLD_RANK:$(hostname)'
[ "$(ranks)" = "0:host1 1:host1 2:host2 3:host2 4:host3" ] || die "ranks lie otherwise: $(ranks)"
ends 7 seven launch/hosts 2 sh -c 'echo seven; exit 7'
ends 2 'Runs a command over N virtual hosts' launch/hosts 2
ends 2 'no-such-program is not there' launch/hosts 2 build/no-such-program
ends 0 '^10.0.0.2 10.0.0.1$' launch/hosts 2 launch/hosts --on host2 \
    'echo $(hostname -I) $(ip route get 10.0.0.1 | grep -o "^[0-9.]*")'
nothing_left

echo "two at once"
for run in 1 2; do launch/hosts 2 launch/mpi 2 hostname >"$folder/both-$run" & done
wait
sort "$folder"/both-* | paste -sd ' ' | grep -qx "host1 host1 host2 host2" || die "$(cat "$folder"/both-*)"
nothing_left

echo "one answer"
toy=$folder/toy
toy_task "$toy"
steps=60
options=(--parallel.team=1+1 "--train.max_steps=$steps")
finetune 1 "$folder/one" --train.max_steps=$steps
finetune 2 "$folder/near" "${options[@]}"
over=(launch/hosts 2)
finetune 2 "$folder/far" "${options[@]}"
grep -q 'exchange: shared' "$folder/near.log" || die "$(cat "$folder/near.log")"
grep -q 'exchange: mpi' "$folder/far.log" || die "it did not see two nodes: $(cat "$folder/far.log")"
same_losses "$folder/one" "$folder/far"
same_losses "$folder/near" "$folder/far" 0
finetune 4 "$folder/four" "${options[@]}" --parallel.team=2+2
same_losses "$folder/one" "$folder/four"

# wait_for_step RUN N: until the run has told N steps, or ended.
wait_for_step() {
    while [ "$(losses "$1" 2>/dev/null | wc -l)" -lt "$2" ] && kill -0 "$launcher" 2>/dev/null; do sleep 0.02; done
}
# goes_on RUN: it was ended in its middle, all is cleared away, and it goes on to the same end.
goes_on() {
    nothing_left
    [ ! -e "$1/results.json" ] || die "the run was over before it could be ended"
    finetune 2 "$1" "${options[@]}" --run.resume=auto
    grep -q "resumed from" "$1.log" || die "it began anew"
    same_losses "$folder/far" "$1" 0
}

echo "a rank is killed"
start 2 "$folder/killed" "${options[@]}" --run.checkpoint_every=10
wait_for_step "$folder/killed" 15
pkill -KILL -n -f "^$paf finetune .*--run.out=$folder/killed " || die "no rank to kill"
wait $launcher && die "the killed run ended well"
goes_on "$folder/killed"

echo "launch/hosts is asked to stop"
start 2 "$folder/stopped" "${options[@]}"
wait_for_step "$folder/stopped" 15
kill -TERM $launcher
wait $launcher || die "exit code $? after TERM: $(cat "$folder/stopped.log")"
goes_on "$folder/stopped"

echo "launch/hosts is killed: the ranks save"
start 2 "$folder/orphans" "${options[@]}"
wait_for_step "$folder/orphans" 15
kill -KILL $launcher
wait $launcher && die "it ended well"
while [ -n "$(left_behind)" ]; do sleep 0.05; done
rm -rf "$folder"/paf-hosts-*
goes_on "$folder/orphans"
