#!/usr/bin/env bash
# Inside a batch job: runs sersl in every task, and puts the job back into the queue where it was
# told to stop before its end: by the time limit (#SBATCH --signal), by a preemption, or by
#   scancel --signal=TERM JOB
# Started again, it goes on from what was saved then. `scancel JOB` ends it for good.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

workdir=''
words=("$@")
for ((i = 0; i < $#; i++)); do
    case ${words[i]} in
        --workdir) workdir=${words[i + 1]:-} ;;
        --workdir=*) workdir=${words[i]#*=} ;;
    esac
done
if [[ -z $workdir ]]; then
    echo "run: --workdir is missing: name a folder that all nodes see" >&2
    exit 2
fi

# A TERM to the whole job reaches this shell too; the tasks answer it.
trap : TERM
status=0
srun --kill-on-bad-exit=0 "$root/launch/slurm/task.sh" "$@" &
step=$!
while true; do
    code=0
    wait "$step" || code=$?
    ((code > 128)) && kill -0 "$step" 2>/dev/null || break
done
status=$code
if ((status == 0)) && [[ -e $workdir/stopped ]]; then
    echo "run: stopped before the end, job $SLURM_JOB_ID goes back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
