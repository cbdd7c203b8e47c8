#!/usr/bin/env bash
# Runs sersl on all workers of a TPU VM at once:
#   ./launch/tpu_vm/run.sh --name NAME --zone ZONE [--dry_run] pretrain --config ... --workdir ...
# The workdir and the data must be seen by all workers, e.g. a Filestore mount.
set -euo pipefail
cd "$(dirname "$0")/../.."
. launch/tpu_vm/options.sh
options "$@"
need name zone
((${#rest[@]})) || stop "a verb is missing, e.g. pretrain"

printf -v words ' %q' "${rest[@]}"
tpu gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command="cd sersl && ./launch/tpu_vm/worker.sh$words"
