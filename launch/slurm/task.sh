#!/usr/bin/env bash
# One task of a Slurm step: tells sersl who it is in the run, then becomes it.
#   srun launch/slurm/task.sh pretrain --config ... --workdir ...
# A task takes all GPUs that Slurm gives it; SERSL_COORDINATOR=host:port overrides the choice here.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

if [[ -z ${SERSL_COORDINATOR:-} ]]; then
    first=$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1)
    # How Slurm itself reaches that node; a node's name need not resolve.
    host=$(scontrol --oneliner show node "$first" | grep -o 'NodeAddr=[^ ]*')
    SERSL_COORDINATOR=${host#NodeAddr=}:$((20000 + SLURM_JOB_ID % 10000))
fi
export SERSL_COORDINATOR SERSL_NUM_PROCESSES=$SLURM_NTASKS SERSL_PROCESS_ID=$SLURM_PROCID
exec "$root/.venv/bin/python" -m sersl "$@"
