#!/usr/bin/env bash
# Runs a sweep as a job array, every job some of the trials; the last to end prints the table:
#   ./launch/slurm/sweep.sh --jobs N --workdir DIR [--sbatch OPTION]... \
#       --config configs/finetune/... [--config.KEY=VALUE]...
# --sbatch OPTION passes an option to sbatch, e.g. --sbatch --partition=gpu. Prints both job numbers.
set -euo pipefail
cd "$(dirname "$0")/../.."

stop() {
    echo "sweep: $1" >&2
    exit 2
}

jobs='' workdir='' options=() rest=()
while (($#)); do
    case $1 in
        --jobs=* | --workdir=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" && continue ;;
        --jobs) jobs=${2:-} && shift 2 ;;
        --workdir) workdir=${2:-} && shift 2 ;;
        --sbatch) options+=("${2:-}") && shift 2 ;;
        *) rest+=("$1") && shift ;;
    esac
done
[[ $jobs =~ ^[1-9][0-9]*$ ]] || stop "--jobs is missing: give the number of jobs, e.g. 8"
[[ -n $workdir ]] || stop "--workdir is missing: give a folder that all nodes can reach"

export SERSL_JOBS=$jobs SERSL_WORKDIR=$workdir
array=$(sbatch --parsable --array="0-$((jobs - 1))" ${options[@]+"${options[@]}"} \
    launch/slurm/trials.sbatch "${rest[@]}")
gather=$(SERSL_JOBS='' sbatch --parsable --dependency="afterok:$array" ${options[@]+"${options[@]}"} \
    launch/slurm/trials.sbatch "${rest[@]}")
echo "sweep: job array $array runs the trials in $jobs jobs, then job $gather chooses in $workdir"
