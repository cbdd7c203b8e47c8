#!/usr/bin/env bash
# Runs sersl as one task of a Slurm step, with its process number and the coordinator's address:
#   srun launch/slurm/task.sh pretrain --config ... --workdir ...
# A task uses all GPUs that Slurm gives it. SERSL_COORDINATOR=host:port overrides the address.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

if [[ -z ${SERSL_COORDINATOR:-} ]]; then
    first=$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1)
    # The address that Slurm itself uses; the name of a node may not resolve.
    host=$(scontrol --oneliner show node "$first" | grep -o 'NodeAddr=[^ ]*')
    SERSL_COORDINATOR=${host#NodeAddr=}:$((20000 + SLURM_JOB_ID % 10000))
fi
export SERSL_COORDINATOR SERSL_NUM_PROCESSES=$SLURM_NTASKS SERSL_PROCESS_ID=$SLURM_PROCID
exec "$root/.venv/bin/python" -m sersl "$@"
