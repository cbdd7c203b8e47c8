#!/usr/bin/env bash
# Fine-tunes the folds of a protocol in parallel, one job each, then scores them together:
#   ./launch/slurm/folds.sh --folds fold1,fold2,final --workdir DIR [--sbatch OPTION]... \
#       --config configs/finetune/... [--config.KEY=VALUE]...
# --sbatch OPTION passes an option to sbatch, e.g. --sbatch --partition=gpu. Prints both job numbers.
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
[[ -n $folds ]] || stop "--folds is missing: list folds of the protocol, e.g. fold1,fold2"
[[ -n $workdir ]] || stop "--workdir is missing: give a folder that all nodes can reach"
IFS=, read -ra names <<<"$folds"

export SERSL_FOLDS=$folds SERSL_WORKDIR=$workdir
array=$(sbatch --parsable --array="0-$((${#names[@]} - 1))" ${options[@]+"${options[@]}"} \
    launch/slurm/fold.sbatch "${rest[@]}")
gather=$(sbatch --parsable --dependency="afterok:$array" ${options[@]+"${options[@]}"} \
    launch/slurm/gather.sbatch "${rest[@]}")
echo "folds: job array $array fine-tunes ${#names[@]} folds, then job $gather scores them in $workdir"
