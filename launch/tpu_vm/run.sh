#!/usr/bin/env bash
# Runs sersl on all workers of a TPU VM at once:
#   ./launch/tpu_vm/run.sh --name NAME --zone ZONE [--dry_run] pretrain --config ... --workdir ...
# All workers must reach the workdir and the data under the same path, e.g. a Filestore mount.
set -euo pipefail
cd "$(dirname "$0")/../.."
. launch/tpu_vm/options.sh
options "$@"
need name zone
((${#rest[@]})) || stop "a verb is missing, e.g. pretrain"

printf -v words ' %q' "${rest[@]}"
# Only processes that have the token can join the run.
token=${SERSL_TOKEN:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}
tpu gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command="cd sersl && SERSL_TOKEN=$token ./launch/tpu_vm/worker.sh$words"
