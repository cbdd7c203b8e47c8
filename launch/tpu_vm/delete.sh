#!/usr/bin/env bash
# Deletes a TPU VM and its disks:
#   ./launch/tpu_vm/delete.sh --name NAME --zone ZONE [--dry_run]
set -euo pipefail
cd "$(dirname "$0")/../.."
. launch/tpu_vm/options.sh
options "$@"
need name zone

tpu gcloud compute tpus tpu-vm delete "$name" --zone="$zone" --quiet
