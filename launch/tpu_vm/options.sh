# Parses the options of the scripts in this folder, which source it.
# shellcheck shell=bash disable=SC2034

stop() {
    echo "tpu_vm: $1" >&2
    exit 2
}

options() { # WORDS...: sets name, zone, type, version, spot, dry_run and rest
    name='' zone='' type='' version='' spot='' dry_run='' rest=()
    while (($#)); do
        case $1 in
            --name=* | --zone=* | --type=* | --version=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
            --name | --zone | --type | --version)
                [[ -n ${2:-} ]] || stop "$1 needs a value"
                printf -v "${1#--}" %s "$2"
                shift 2
                ;;
            --spot) spot=yes && shift ;;
            --dry_run) dry_run=yes && shift ;;
            -*) stop "unknown option $1" ;;
            *) rest=("$@") && break ;;
        esac
    done
}

need() { # NAMES...: options that are required
    local option
    for option in "$@"; do
        [[ -n ${!option} ]] || stop "--$option is missing"
    done
}

tpu() { # COMMAND...: runs it, or with --dry_run prints it
    if [[ -n $dry_run ]]; then
        printf '%q ' "$@"
        printf '\n'
    else
        "$@"
    fi
}
