#!/usr/bin/env bash
# Fine-tunes every fold of a protocol as a job of its own, side by side, then scores them together:
#   ./launch/slurm/folds.sh --folds fold1,fold2,final --workdir DIR [--sbatch OPTION]... \
#       --config configs/finetune/... [--config.KEY=VALUE]...
# What follows --sbatch goes to sbatch, e.g. --sbatch --partition=gpu. Prints the two job numbers.
set -euo pipefail
cd "$(dirname "$0")/../.."

stop() {
    echo "folds: $1" >&2
    exit 2
}

folds='' workdir='' options=() rest=()
while (($#)); do
    case $1 in
        --folds=* | --workdir=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" && continue ;;
        --folds) folds=${2:-} && shift 2 ;;
        --workdir) workdir=${2:-} && shift 2 ;;
        --sbatch) options+=("${2:-}") && shift 2 ;;
        *) rest+=("$1") && shift ;;
    esac
done
[[ -n $folds ]] || stop "--folds is missing: name the folds of the protocol, e.g. fold1,fold2"
[[ -n $workdir ]] || stop "--workdir is missing: name a folder that all nodes see"
IFS=, read -ra names <<<"$folds"

export SERSL_FOLDS=$folds SERSL_WORKDIR=$workdir
array=$(sbatch --parsable --array="0-$((${#names[@]} - 1))" ${options[@]+"${options[@]}"} \
    launch/slurm/fold.sbatch "${rest[@]}")
gather=$(sbatch --parsable --dependency="afterok:$array" ${options[@]+"${options[@]}"} \
    launch/slurm/gather.sbatch "${rest[@]}")
echo "folds: array $array of ${#names[@]} folds, then job $gather gathers them in $workdir"
