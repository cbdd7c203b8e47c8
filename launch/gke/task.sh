#!/usr/bin/env bash
# Runs sersl in one pod of a JobSet and translates its exit code for the JobSet. The manifests in this
# folder set the variables that it reads:
#   JOBSET_NAME, JOB_NAME   names of the JobSet and of its replicated job
#   JOBS, PODS              number of jobs (slices), and of pods in each
#   JOB_INDEX, POD_INDEX    index of this job and pod
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

# Kubernetes sends SIGTERM to this shell: pass it on and wait until the state is saved.
sersl "$@" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null || true' TERM
while true; do
    code=0
    wait "$child" || code=$?
    ((code > 128)) && kill -0 "$child" 2>/dev/null || break
done
if ((code == 0)) && [[ -n $workdir && -e $workdir/stopped ]]; then
    # The node is being taken away. 75 is a failure, so the JobSet restarts and resumes the run.
    exit 75
fi
exit "$code"
