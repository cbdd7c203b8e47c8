"""Continues a published encoder on unlabelled speech, beside itself: a side branch that learns.

The encoder of init_from stays as it is. Two Transformer layers read the output of one of its lower
layers, where pitch, loudness and spectrum still are, and half of what they give is added to a
middle layer, which emotion is read from best. The sum, now the last layer, learns to give the
functionals of an utterance (pitch, loudness, spectrum, rhythm), and to tell the utterances of a
batch apart by them. Nothing needs labels or annotations. What follows reads the layers of the start
and those of the branch, so that nothing is forgotten; frozen.py:ridge leaves the branch out where
it does not help.

Papers: ladder side-tuning (2206.06522) for the branch, eGeMAPS (TAFFC 2016) for functionals,
multi-view contrast (2406.07900).

Command: sersl pretrain --config configs/pretrain/continue_emotion.py --workdir runs/continue \
    --config.init_from=models/whisper --config.data.data_dir=data --config.data.corpora=mine
Presets: side (reads layer 1, is added to layer 3, learns freely); near (reads layer 3, and stays
near it by objectives.anchor, for what reads the last layer alone); anchored (no branch: all layers
train slowly, and every layer is kept near the start; give the folder of init_from as
frozen_teachers too); nano (tests).
Time: about 2.5 s a step on one core from Whisper base, 51 s of audio.
Score: over all layers of Whisper base, side gains 0.026 UAR on the embedded corpus, whose emotions
    are in the voice alone (three seeds), and nothing on RAVDESS and nEMO. By the last layer alone
    it gains 0.19 there, 0.046 and 0.05 on these two; near 0.059 and 0.066
    (docs/results/continued.md).
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset
from sersl.core.errors import unknown_name

STEPS = {"nano": 20, "anchored": 400, "side": 400, "near": 400}


def get_config(preset: str = "side") -> ConfigDict:
    if preset not in STEPS:
        raise unknown_name("preset", preset, STEPS)
    config = ConfigDict()
    config.name = f"continue_emotion_{preset}"
    size = "nano" if preset == "nano" else "tiny"  # replaced by the sizes of init_from
    config.frontend = frontend_preset(size, frontend="log_mel")
    config.encoder = encoder_preset(size, frontend="log_mel")
    # Whisper was trained without: a dropout of 0.1 moves its frames by more than their variance.
    config.encoder.dropout = 0.0
    config.masking = {"rule": "none"}
    config.objectives = {"functionals": {"weight": 1.0}}
    config.data = {"seconds_per_batch": 51.2, "max_seconds": 3.2, "num_buckets": 1}
    config.train = {"num_steps": STEPS[preset], "log_every_steps": 20}
    config.optimizer = {"learning_rate": 3e-4}
    if preset == "anchored":
        config.objectives.anchor = {"weight": 10.0}
        config.optimizer.learning_rate = 3e-5
        config.data.seconds_per_batch = 25.6
        config.rate_scales = ((r"encoder/.*", 1.0), (r".*", 10.0))
        return config
    config.encoder.side_layers = 2
    if preset == "near":
        config.encoder.side_from = 3
        config.objectives.anchor = {"weight": 3.0}
    else:
        config.encoder.side_from = 1
        config.encoder.side_onto = 1 if preset == "nano" else 3
    config.objectives.multiview = {"weight": 0.3, "views": ("speech", "functionals")}
    config.unfreeze = ((r"encoder/context/side.*", 0), (r"encoder/.*", -1), (r".*", 0))
    if preset == "nano":
        config.data = {"seconds_per_batch": 32.0, "max_seconds": 4.0, "num_buckets": 1}
        config.objectives.functionals.hidden = 32
    return config
