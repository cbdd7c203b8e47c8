#!/usr/bin/env bash
# Runs sersl in every task of a batch job. If the run is stopped before its end, the job is requeued
# and resumes from the checkpoint that was saved. The time limit (#SBATCH --signal) and preemption
# stop a run, and so does
#   scancel --signal=TERM JOB
# `scancel JOB` cancels the job without requeuing it.
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
    echo "run: --workdir is missing: give a folder that all nodes can reach" >&2
    exit 2
fi

# Only processes that have the token can join the run; srun passes it on.
export SERSL_TOKEN=${SERSL_TOKEN:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}

# A TERM to the whole job reaches this shell too; the tasks handle it.
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
    echo "run: stopped before the end, requeuing job $SLURM_JOB_ID"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
