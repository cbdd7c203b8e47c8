#!/usr/bin/env bash
# One pod of a JobSet: tells sersl who it is in the run, runs it, and says how the pod should end.
# The manifests beside this file set what it reads.
#   JOBSET_NAME, JOB_NAME   of the JobSet, and of its replicated job
#   JOBS, PODS              how many jobs (slices), and pods in each
#   JOB_INDEX, POD_INDEX    which of them this is
set -euo pipefail

export SERSL_COORDINATOR=$JOBSET_NAME-$JOB_NAME-0-0.$JOBSET_NAME:8476
export SERSL_NUM_PROCESSES=$((JOBS * PODS)) SERSL_PROCESS_ID=$((JOB_INDEX * PODS + POD_INDEX))

workdir=''
words=("$@")
for ((i = 0; i < $#; i++)); do
    case ${words[i]} in
        --workdir) workdir=${words[i + 1]:-} ;;
        --workdir=*) workdir=${words[i]#*=} ;;
    esac
done

# Kubernetes signals the shell: pass it on and wait for the state to be saved.
sersl "$@" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null || true' TERM
while true; do
    code=0
    wait "$child" || code=$?
    ((code > 128)) && kill -0 "$child" 2>/dev/null || break
done
if ((code == 0)) && [[ -n $workdir && -e $workdir/stopped ]]; then
    # A node that is taken away is no success: with 75 the JobSet starts again and goes on.
    exit 75
fi
exit "$code"
