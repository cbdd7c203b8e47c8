#!/usr/bin/env bash
# Creates a TPU VM (one worker or a pod slice) and installs this source tree on it:
#   ./launch/tpu_vm/create.sh --name NAME --zone ZONE --type v5litepod-16 [--spot] [--dry_run]
# Needs gcloud with a project that has quota for the type.
set -euo pipefail
cd "$(dirname "$0")/../.."
. launch/tpu_vm/options.sh
options "$@"
need name zone type

create=(gcloud compute tpus tpu-vm create "$name" --zone="$zone" --accelerator-type="$type"
    --version="${version:-v2-alpha-tpuv5-lite}")
[[ -z $spot ]] || create+=(--spot)
tpu "${create[@]}"
# The committed tree, so that the commit in the record of a run is what ran.
archive=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$archive"' EXIT
git archive --format=tar.gz --output="$archive" HEAD
tpu gcloud compute tpus tpu-vm scp "$archive" "$name:sersl.tar.gz" --zone="$zone" --worker=all
tpu gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="mkdir -p sersl && \
tar -xzf sersl.tar.gz -C sersl && cd sersl && ./launch/environment.sh && \
jax=\$(.venv/bin/python -c 'import importlib.metadata as m; print(m.version(\"jax\"))') && \
.venv/bin/python -m pip install --quiet \"jax[tpu]==\$jax\""
