#!/usr/bin/env bash
# Runs sersl on one worker of a TPU VM, with its process number from the metadata server.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

metadata() {
    curl --silent --fail --header 'Metadata-Flavor: Google' \
        "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}

# Workers in order, as host or as name:number:host.
IFS=, read -ra endpoints <<<"$(metadata worker-network-endpoints)"
export SERSL_COORDINATOR=${endpoints[0]##*:}:8476
export SERSL_NUM_PROCESSES=${#endpoints[@]} SERSL_PROCESS_ID
SERSL_PROCESS_ID=$(metadata agent-worker-number)
exec "$root/.venv/bin/python" -m sersl "$@"
