"""Vesper: a few layers learn from a large teacher, with energy-guided masks at two depths.

Paper: Vesper (2307.10757): WavLM LARGE teaches 4 or 12 layers. Short spans are hidden from the
input and predicted at the middle layer, long spans are hidden from the upper half and predicted at
the last layer; half of the spans are loud and half of medium level. The upper half runs twice.
Differs: the bands are those of each utterance, where the published code multiplies the thresholds
again for every row; they are bands of the annotator's intensity, which follows decibels, instead of
the amplitude; long spans are drawn independently instead of grown from short ones; padding is
excluded; the student starts from scratch or from --config.init_from instead of every nth layer of
the teacher, and its convolutions are trained; heads have no LayerNorm; the learning rate 5e-4 is
that of its README, where its config has 5e-3; the warm-up is 8 % of the steps instead of a number
of epochs; gradients are clipped to norm 1.

Command: sersl import --source microsoft/wavlm-large --output models/wavlm_large
    sersl annotate --corpus lssed --data_dir data
    sersl pretrain --config configs/pretrain/vesper.py:four --workdir runs/vesper4 \
    --config.data.data_dir=data --config.data.corpora=lssed
Presets: nano (tests), four and twelve (layers; 64 M and 164 M parameters in the paper).
Time: nano seconds on a CPU; not measured for the others.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "four": 60_000, "twelve": 60_000}
LAYERS = {"nano": 2, "four": 4, "twelve": 12}


def get_config(preset: str = "four") -> ConfigDict:
    size = "nano" if preset == "nano" else "large"
    config = ConfigDict()
    config.name = f"vesper_{preset}"
    config.frontend = frontend_preset(size, frontend="waveform")
    config.encoder = encoder_preset(size, frontend="waveform")
    config.encoder.update({"num_layers": LAYERS[preset], "relative_bias": True})
    config.masking = {"rule": "bands", "fraction": 0.64, "span": 8}
    config.frozen_teachers = ("models/wavlm_large",)
    config.objectives = {
        "vesper": {"weight": 1.0, "middle": 12, "last": 24, "span": 40, "fraction": 0.64},
    }
    config.optimizer = {
        "learning_rate": 5e-4,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "end_fraction": 0.01,
    }
    config.train = {"num_steps": STEPS[preset]}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.encoder.position_groups = 4
        config.objectives.vesper.update({"middle": 1, "last": 2, "span": 20})
        config.optimizer.learning_rate = 3e-3
    else:
        config.data = {"seconds_per_batch": 1_280.0, "max_seconds": 5.0, "num_buckets": 2}
        config.encoder.update({"dtype": "bfloat16", "remat": "dots"})
    return config
