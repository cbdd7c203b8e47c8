"""data2vec 2.0: regress an averaged teacher from visible frames, eight masks per teacher pass.

Paper: data2vec 2.0 (2212.07525), base audio model.
Differs: no learned ALiBi (positions come from the convolution stack alone); targets are whole
layers instead of outputs of feed-forward blocks; the teacher averages the conv stack too, where the
published code shares the student's; spans do not overlap; convolutions have biases.

Command: sersl pretrain --config configs/pretrain/data2vec2.py:base --workdir runs/data2vec2 \
    --config.data.data_dir=data --config.data.corpora=librispeech
Presets: nano (tests), base (95 M parameters).
Time: nano seconds on a CPU; base 2 days on 8 GPUs in the paper, not measured here.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "base": 400_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"data2vec2_{preset}"
    config.frontend = frontend_preset(preset, frontend="waveform")
    config.frontend.update({"conv_norm": "layer", "normalize": "utterance", "gradient_scale": 1.0})
    config.frontend.conv_bias = True  # keeps gradients small where recordings are digitally silent
    config.encoder = encoder_preset(preset, frontend="waveform")
    config.encoder.update({"positions": "convolution_stack", "position_kernel": 19})
    config.masking = {
        "rule": "uniform",
        "fraction": 0.5,
        "span": 5,
        "replace": "remove",
        "clones": 8,
    }
    config.objectives = {
        "distill": {"weight": 1.0, "decoder": "convolution"},
    }
    config.teacher = {"decay_start": 0.999, "decay_end": 0.99999, "decay_steps": 75_000}
    config.collapse = {"after_steps": 5_000}
    config.optimizer = {"learning_rate": 7.5e-4, "warmup_fraction": 0.02}
    config.train = {"num_steps": STEPS[preset]}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.masking.clones = 2
        config.encoder.update({"position_layers": 1, "position_groups": 4})
        config.objectives.distill.update(
            {"decoder_width": 32, "decoder_layers": 1, "decoder_groups": 4}
        )
    else:
        config.data = {"seconds_per_batch": 500.0, "max_seconds": 20.0, "num_buckets": 6}
        config.encoder.update({"layer_drop": 0.05, "dtype": "bfloat16", "remat": "dots"})
    return config
