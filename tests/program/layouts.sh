#!/bin/bash
# One answer: losses and gradient norms of 20 steps, dropout on, are the same on every layout and however a batch is cut
# into micro-batches, and to the bit where the placement is the same.
. tests/support.sh
folder=$(mktemp -d)
toy=$folder/toy
toy_task "$toy"

ranks_of() { local a=${1%+*} f=${1#*+}; [ "$1" = 1 ] && echo 1 || echo $((a + f)); }

for design in saf paf; do
    finetune 1 "$folder/$design-1" --model.design=$design
    for team in 1+1 1+2 2+1 2+2 3+5; do
        for balance in off on; do
            # SAF shares everything evenly, whatever balance says.
            [ $design$balance = safon ] && continue
            for exchange in shared mpi; do
                run=$folder/$design-$team-$balance-$exchange
                finetune "$(ranks_of $team)" "$run" --model.design=$design --parallel.team=$team \
                    --parallel.balance=$balance --parallel.exchange=$exchange
                same_losses "$folder/$design-1" "$run"
            done
            same_losses "$folder/$design-$team-$balance-shared" "$folder/$design-$team-$balance-mpi" 0
        done
    done
    for team in 1 1+1 1+2 1+3 1+4; do
        run=$folder/$design-$team-pblas
        finetune "$(ranks_of $team)" "$run" --model.design=$design --parallel.team=$team --parallel.ffn=pblas
        grep -q "by PBLAS" "$run.log" || die "no tiles: $(cat "$run.log")"
        same_losses "$folder/$design-1" "$run"
    done
    finetune 3 "$folder/$design-1+2-pblas-mpi" --model.design=$design --parallel.team=1+2 --parallel.ffn=pblas \
        --parallel.exchange=mpi
    same_losses "$folder/$design-1+2-pblas" "$folder/$design-1+2-pblas-mpi" 0
    finetune 2 "$folder/$design-again" --model.design=$design --parallel.team=1+1 --parallel.balance=off
    same_losses "$folder/$design-1+1-off-shared" "$folder/$design-again" 0
    finetune 2 "$folder/$design-cut" --model.design=$design --train.micro_tokens=40
    same_losses "$folder/$design-1" "$folder/$design-cut"
    for ranks in 1 2; do
        OMP_NUM_THREADS=2 finetune $ranks "$folder/$design-threads-$ranks" --model.design=$design
        same_losses "$folder/$design-1" "$folder/$design-threads-$ranks"
    done
done

# What tiles wrote others read, and the other way round. moved FROM TO OPTION...: FROM goes on for ten steps on team TO.
moved() {
    local from=$1 to=$2
    shift 2
    cp -r "$folder/$from" "$folder/$from-$to"
    finetune "$(ranks_of "$to")" "$folder/$from-$to" --model.design=paf --parallel.team="$to" --train.max_steps=30 \
        --run.resume=auto "$@"
    grep -q "resumed from" "$folder/$from-$to.log" || die "it began anew: $(cat "$folder/$from-$to.log")"
}
moved paf-1 1
moved paf-1 1+2 --parallel.ffn=pblas
moved paf-1+4-pblas 1+1
moved paf-1+2-pblas 1+4 --parallel.ffn=pblas
for run in paf-1-1+2 paf-1+4-pblas-1+1 paf-1+2-pblas-1+4; do same_losses "$folder/paf-1-1" "$folder/$run"; done
