"""Emotion2vec-S: emotion2vec, with contrast between utterances of different (pseudo-)labels.

Paper: C2SER (code in zxzhao0/C2SER): the losses of frames, utterances and categories have weight 1.
Its training code is not public, so the last is the supervised contrast of 2004.11362.
Differs: as emotion2vec.py.

Command: sersl pretrain --config configs/pretrain/emotion2vec_s.py:base \
    --workdir runs/emotion2vec_s --config.data.data_dir=data --config.data.corpora=labelled \
    --config.init_from=runs/emotion2vec
The corpus needs categories, labelled or predicted by another model.
Presets: nano (tests), base (95 M parameters).
Time: nano seconds on a CPU; not measured for base.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "base": 100_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"emotion2vec_s_{preset}"
    config.frontend = frontend_preset(preset, frontend="waveform")
    config.frontend.update({"conv_norm": "layer", "normalize": "utterance", "gradient_scale": 1.0})
    config.frontend.conv_bias = True  # keeps gradients small where recordings are digitally silent
    config.encoder = encoder_preset(preset, frontend="waveform")
    config.encoder.update({"positions": "convolution_stack", "position_kernel": 19})
    config.masking = {
        "rule": "uniform",
        "fraction": 0.7,
        "span": 5,
        "replace": "remove",
        "clones": 8,
    }
    config.objectives = {
        "distill": {"weight": 1.0, "decoder": "convolution"},
        "utterance": {"weight": 1.0, "kind": "chunk", "tokens": 10},
        "supervised": {"weight": 1.0, "pairs": "category"},
    }
    config.teacher = {"decay_start": 0.999, "decay_end": 0.9999, "decay_steps": STEPS[preset]}
    config.collapse = {"after_steps": 5_000}
    config.optimizer = {"learning_rate": 7.5e-5, "warmup_fraction": 0.05}
    config.train = {"num_steps": STEPS[preset]}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.masking.clones = 2
        config.encoder.update({"position_layers": 1, "position_groups": 4})
        config.objectives.distill.update(
            {"decoder_width": 32, "decoder_layers": 1, "decoder_groups": 4}
        )
        config.objectives.supervised = {"weight": 1.0, "hidden": 32, "width": 16}
        config.optimizer.learning_rate = 1e-3
    else:
        config.data = {"seconds_per_batch": 500.0, "max_seconds": 20.0, "num_buckets": 6}
        config.encoder.update({"layer_drop": 0.05, "dtype": "bfloat16", "remat": "dots"})
    return config
