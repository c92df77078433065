#!/bin/bash
# The PBS batch scripts, with a qsub and a qstat that only say what they would do: ranks save before the time limit, and
# a successor goes on. An srun that does not match MPI. (tests/slurm/run tries all of Slurm on a real one.)
. tests/support.sh
[ "$paf" = build/paf ] || { echo "the batch scripts start build/paf, not $paf" && exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
toy=$folder/toy
toy_task "$toy"
options="--data.task=$toy/task.ini --data.dir=$toy --data.vocab=$toy/vocab.txt --data.max_length=24
    --model.config=$toy/model.json --train.batch=16 --train.lr=1e-3 --train.max_steps=60"

mkdir "$folder/bin"
cat >"$folder/bin/qstat" <<END
#!/bin/sh
echo "Job Id: \$2"
echo "    Resource_List.ncpus = 2"
echo "    Resource_List.select = 1:ncpus=2:mpi"
printf '\tprocs=2\n'
echo "    Resource_List.walltime = \${WALLTIME:-01:00:00}"
END
cat >"$folder/bin/qsub" <<END
#!/bin/bash
# Like OpenPBS's, it refuses to send a variable that is not there.
for ((i = 1; i <= \$#; i++)); do
    [ "\${!i}" = -v ] || continue
    next=\$((i + 1))
    for name in \$(echo "\${!next}" | tr , ' '); do
        [ -n "\${!name+set}" ] || { echo "qsub: cannot send environment with the job" >&2 && exit 1; }
    done
done
echo "\$@ with \$PAF_ARGS" >>"$folder/submitted"
END
chmod +x "$folder"/bin/*
printf 'localhost\nlocalhost\n' >"$folder/nodes"
export PATH=$folder/bin:$PATH PBS_JOBID=7.pbs PBS_NODEFILE=$folder/nodes PBS_O_WORKDIR=$PWD

# job RUN: the script as PBS would start it, somewhere else and in the background; its pid is in $script
job() {
    export PAF_ARGS="$options --run.out=$1"
    (cd / && exec bash "$PBS_O_WORKDIR/launch/pbs/finetune.pbs") >>"$1.log" 2>&1 &
    script=$!
}

echo "undisturbed"
job "$folder/whole"
wait $script || die "$(cat "$folder/whole.log")"
[ ! -e "$folder/submitted" ] || die "what was over has been submitted again"

echo "signalled"
job "$folder/stopped"
until [ -s "$folder/stopped/metrics.jsonl" ] || ! kill -0 $script 2>/dev/null; do sleep 0.02; done
kill -USR1 $script
wait $script || die "$(cat "$folder/stopped.log")"
[ ! -e "$folder/stopped/results.json" ] || die "the run was over before it could be stopped"
wanted="-W depend=afterany:7.pbs -l select=1:ncpus=2:mpiprocs=2 -l walltime=01:00:00 -v PAF_ARGS"
wanted="$wanted launch/pbs/finetune.pbs with $PAF_ARGS"
[ "$(cat "$folder/submitted")" = "$wanted" ] || die "submitted: $(cat "$folder/submitted"), wanted: $wanted"
rm "$folder/submitted"

echo "its successor"
job "$folder/stopped"
wait $script || die "$(cat "$folder/stopped.log")"
grep -q "resumed from" "$folder/stopped.log" || die "it began anew"
same_losses "$folder/whole" "$folder/stopped" 0

echo "the time limit comes near"
code=0
# shellcheck disable=SC2016 # for the shell inside
WALLTIME=01:00:05 PAF_MARGIN=3600 bash -c '. launch/pbs/common; start() { exec sleep 777.77; }; remind; run' \
    >"$folder/reminded" 2>&1 || code=$?
[ $code -gt 128 ] || die "exit code $code: $(cat "$folder/reminded")"
grep -q 'USR1: the ranks are to save' "$folder/reminded" || die "not reminded: $(cat "$folder/reminded")"
[ ! -e "$folder/submitted" ] || die "what failed has been submitted again"
WALLTIME=777:00:00 bash -c '. launch/pbs/common; start() { true; }; remind; run' || die "exit code $?"
[ -z "$(pgrep -f 'sleep 777')$(pgrep -f "sleep $((777 * 3600 - 300))")" ] || die "left behind: $(pgrep -a sleep)"

echo "tasks of an srun that does not match"
export SLURM_STEP_NUM_TASKS=2
SLURM_PROCID=0 ends 2 'srun started 2 tasks, but each sees a world of one rank' "$paf" --version
[ "$(wc -l <"$folder/output")" = 1 ] || die "more than one message: $(cat "$folder/output")"
code=0
SLURM_PROCID=1 "$paf" --version >"$folder/output" 2>&1 || code=$?
[ "$code $(cat "$folder/output")" = "2 " ] || die "exit code $code, $(cat "$folder/output")"
ends 0 paf launch/mpi 2 "$paf" --version # mpirun inside an allocation
SLURM_STEP_NUM_TASKS=1 ends 0 paf "$paf" --version
