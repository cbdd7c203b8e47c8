"""wav2vec 2.0: identify the quantized frame at each masked position among others.

Paper: wav2vec 2.0 (2006.11477), losses and optimizer of its BASE model.
Differs: spans do not overlap and hide exactly 49 % of the frames; crops up to 15.6 s in batches of
1.6 h; gradients are clipped to norm 10, which the published code does not do; the linear decay
starts after the warm-up of 32,000 steps, which is 8 % of them, as in the paper.

Command: sersl pretrain --config configs/pretrain/wav2vec2.py:base --workdir runs/wav2vec2 \
    --config.data.data_dir=data --config.data.corpora=librispeech
Presets: nano (tests), base (95 M parameters).
Time: nano seconds on a CPU; base 1.6 days on 64 GPUs in the paper, not measured here.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "base": 400_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"wav2vec2_{preset}"
    config.frontend = frontend_preset(preset, frontend="waveform")
    config.encoder = encoder_preset(preset, frontend="waveform")
    config.masking = {"rule": "uniform", "fraction": 0.49, "span": 10}
    config.objectives = {
        "contrastive": {"weight": 1.0, "width": 256, "codes": 320, "num_negatives": 100},
        "penalty": {"weight": 10.0},
    }
    config.optimizer = {"learning_rate": 5e-4, "schedule": "linear", "clip_norm": 10.0}
    config.train = {"num_steps": STEPS[preset]}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.objectives.contrastive.update({"width": 32, "codes": 16, "num_negatives": 20})
    else:
        config.data = {"seconds_per_batch": 5_760.0, "max_seconds": 15.6, "num_buckets": 6}
        config.encoder.update({"layer_drop": 0.05, "dtype": "bfloat16", "remat": "dots"})
    return config
