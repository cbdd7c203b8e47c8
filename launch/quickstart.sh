#!/usr/bin/env bash
# Goes from audio to emotion scores: prepare, annotate, pretrain, finetune, evaluate, export, predict.
# Needs Python 3.11 to 3.13 and bash. Rerun it to resume.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

usage() {
    cat <<USAGE
./launch/quickstart.sh [--corpus NAME --audio_dir DIR] [--init_from DIR_OR_NAME] [OPTIONS]

Without options, it uses the embedded corpus and takes a few minutes on a CPU. Rerun it to resume.
  --init_from DIR   a pretrained encoder: the folder of a wav2vec 2.0, HuBERT, WavLM, data2vec or
                    Whisper model of Hugging Face, a model folder or a pretraining workdir; or
                    OWNER/NAME of such a model, which is downloaded. Nothing is pretrained; the
                    heads are trained on the frozen encoder
  --corpus NAME     a supported corpus, e.g. ravdess; default: synthetic, which needs no audio
  --audio_dir DIR   folder of the corpus as downloaded, e.g. with Actor_01/*.wav
  --workdir DIR     folder for runs, scores and the model; default: runs/quickstart-NAME
  --data_dir DIR    folder for prepared corpora; default: runs/data
  --preset NAME     model: nano (seconds, learns little), light (default: convolutions on acoustic
                    features), tiny (Transformer), small (Transformer for a GPU);
                    with --init_from: functionals (default: solved, with pitch, loudness and the
                    like beside the encoder where they help), ridge (without them), base (trained
                    by gradient) or nano (seconds)
  --seed N          random seed; default: 0
USAGE
}

stop() {
    echo "quickstart: $1" >&2
    exit 2
}

corpus=synthetic audio_dir='' workdir='' data_dir=runs/data init_from='' preset='' seed=0
while (($#)); do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" && continue ;;
        --corpus | --audio_dir | --workdir | --data_dir | --init_from | --preset | --seed)
            [[ -n ${2:-} ]] || stop "$1 needs a value: see ./launch/quickstart.sh --help"
            printf -v "${1#--}" %s "$2"
            shift 2
            ;;
        *) stop "unknown option $1: see ./launch/quickstart.sh --help" ;;
    esac
done
workdir=${workdir:-runs/quickstart-$corpus${init_from:+-frozen}}
if [[ -n $init_from ]]; then
    [[ -d $init_from || $init_from =~ ^(hf://)?[A-Za-z0-9][^/]*/[^/]+$ ]] ||
        stop "--init_from $init_from does not exist: give the folder of an encoder, or OWNER/NAME"
    preset=${preset:-functionals}
fi
preset=${preset:-light}
if [[ $corpus == synthetic ]]; then
    [[ -z $audio_dir ]] || stop "the synthetic corpus takes no --audio_dir: name your corpus with --corpus"
else
    [[ -n $audio_dir ]] || stop "corpus $corpus needs its audio: add --audio_dir DIR"
    [[ -d $audio_dir ]] || stop "--audio_dir $audio_dir does not exist: give the folder of $corpus"
fi
# Real speech needs more steps than the embedded corpus; RAVDESS has published folds.
pretrain_on=() finetune_on=()
case $corpus:$preset in
    synthetic:*) ;;
    *:light) finetune_on=(--config.train.num_steps=1000) ;;
    *:tiny)
        pretrain_on=(--config.train.num_steps=500)
        finetune_on=(--config.train.num_steps=300)
        ;;
esac
[[ $corpus != ravdess ]] || finetune_on+=(--config.protocol.name=emobox)

"$root/launch/environment.sh"
sersl=$root/.venv/bin/sersl
mkdir -p "$workdir"
began=$SECONDS

step() { # NAME COMMAND...: prints a header, runs the command, prints its time
    local started=$SECONDS
    printf '\n== %s\n' "$1"
    "${@:2}"
    printf -- '-- %s: %d s\n' "$1" $((SECONDS - started))
}

unless_stopped() { # DIR: ends the script if the run there was stopped by SIGTERM
    [[ -e $1/stopped ]] || return 0
    echo "quickstart: stopped; rerun the same command to resume" >&2
    exit 0
}

step prepare "$sersl" prepare --corpus "$corpus" --data_dir "$data_dir" \
    ${audio_dir:+--audio_dir "$audio_dir"}
run_on=(--config.data.data_dir="$data_dir" --config.data.corpora="$corpus"
    --config.train.seed="$seed")
if [[ -n $init_from ]]; then
    heads=frozen encoder=$init_from
    # A model of Hugging Face has neither what sersl writes beside weights, nor checkpoints.
    if [[ ! -e $init_from/sersl.json && ! -d $init_from/checkpoints ]]; then
        encoder=$workdir/encoder
        [[ -d $init_from ]] || "$root/.venv/bin/python" -c 'import huggingface_hub' 2>/dev/null ||
            "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
                'huggingface_hub>=1' || stop "huggingface_hub cannot be installed: see above"
        step import "$sersl" import --source "$init_from" --output "$encoder"
    fi
else
    heads=emotion encoder=$workdir/pretrain
    step annotate "$sersl" annotate --corpus "$corpus" --data_dir "$data_dir"
    step pretrain "$sersl" pretrain --config "$root/configs/pretrain/emotion_aware.py:$preset" \
        --workdir "$workdir/pretrain" "${run_on[@]}" ${pretrain_on[@]+"${pretrain_on[@]}"}
    unless_stopped "$workdir/pretrain"
fi
step finetune "$sersl" finetune --config "$root/configs/finetune/$heads.py:$preset" \
    --workdir "$workdir/finetune" "${run_on[@]}" \
    --config.init_from="$encoder" ${finetune_on[@]+"${finetune_on[@]}"}
unless_stopped "$workdir/finetune"
step evaluate "$sersl" evaluate --workdir "$workdir/finetune" | tee "$workdir/scores.txt"
licence=CC-BY-NC-SA-4.0  # the terms of RAVDESS hold for its models
[[ $corpus != synthetic ]] || licence=Apache-2.0
step export "$sersl" export --workdir "$workdir/finetune" --output "$workdir/model" \
    --licence "$licence"
step example "$root/.venv/bin/python" "$root/tools/write_wav.py" --corpus "$corpus" \
    --data_dir "$data_dir" --output "$workdir/example.wav" | tee "$workdir/example.txt"
step predict "$sersl" predict --model "$workdir/model" "$workdir/example.wav" |
    tee "$workdir/prediction.txt"

printf '\n== done in %d s\n' $((SECONDS - began))
grep -hv -e '^$' -e '^== ' -e '^-- ' -e '^report:' "$workdir"/{scores,example,prediction}.txt
echo "report    $workdir/finetune/report.html"
echo "model     $workdir/model"
