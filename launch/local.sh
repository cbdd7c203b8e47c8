#!/usr/bin/env bash
# Runs several processes of one run on this machine, as several hosts would.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

usage() {
    cat <<USAGE
./launch/local.sh --processes N [--cpu_devices M | --gpus_each G] VERB [OPTIONS OF THE VERB]

  --processes N    number of processes
  --cpu_devices M  run on the CPU, with M simulated devices in each process
  --gpus_each G    give GPUs 0 to G-1 to the first process, the next G to the second, and so on

e.g. ./launch/local.sh --processes 2 --cpu_devices 4 pretrain --config configs/... --workdir DIR
SIGTERM and Ctrl-C send SIGTERM to all processes: training saves and stops. A second Ctrl-C ends
them at once. The exit code is the first one that is not 0.
USAGE
}

stop() {
    echo "local: $1" >&2
    exit 2
}

is_number() { [[ $1 =~ ^[1-9][0-9]*$ ]]; }

processes='' cpu_devices='' gpus_each=''
while (($#)); do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" && continue ;;
        --processes | --cpu_devices | --gpus_each)
            is_number "${2:-}" || stop "$1 needs a whole number above 0, not '${2:-}'"
            printf -v "${1#--}" %s "$2"
            shift 2
            ;;
        -*) stop "unknown option $1: see ./launch/local.sh --help" ;;
        *) break ;;
    esac
done
[[ -n $processes ]] || stop "--processes is missing: see ./launch/local.sh --help"
[[ -z $cpu_devices || -z $gpus_each ]] || stop "give --cpu_devices or --gpus_each, not both"
(($#)) || stop "a verb is missing, e.g. pretrain: see ./launch/local.sh --help"

"$root/launch/environment.sh"
python=$root/.venv/bin/python
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
# Only processes that have the token can join the run.
token=${SERSL_TOKEN:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}
export SERSL_COORDINATOR=localhost:$port SERSL_NUM_PROCESSES=$processes SERSL_TOKEN=$token
if [[ -n $cpu_devices ]]; then
    export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=$cpu_devices
fi

children=()
for ((number = 0; number < processes; number++)); do
    if [[ -n $gpus_each ]]; then
        CUDA_VISIBLE_DEVICES=$(seq -s, $((number * gpus_each)) $((number * gpus_each + gpus_each - 1)))
        export CUDA_VISIBLE_DEVICES
    fi
    SERSL_PROCESS_ID=$number "$python" -m sersl "$@" &
    children+=($!)
done
signal() { # NAME: sends it to all processes
    signalled=yes
    kill "-$1" "${children[@]}" 2>/dev/null || true
}
interrupts=0
interrupt() {
    # bash makes the processes that it starts with & ignore SIGINT.
    if ((interrupts++)); then
        signal KILL
    else
        echo "local: stopping all processes; press Ctrl-C again to end them at once" >&2
        signal TERM
    fi
}
trap 'signal TERM' TERM
trap interrupt INT

status=0
for child in "${children[@]}"; do
    while true; do
        signalled=''
        code=0
        wait "$child" || code=$?
        # A trapped signal ends `wait`, not the child; `wait` returns the code of an ended child again.
        [[ $signalled ]] || break
    done
    ((status)) || status=$code
done
exit "$status"
