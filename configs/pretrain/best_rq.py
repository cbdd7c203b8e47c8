"""BEST-RQ: name the random codeword that a random projection of the hidden frame is nearest to.

Paper: BEST-RQ (2202.01855). Differs: our Transformer in place of the Conformer, frames of 20 ms in
place of 40, a learned vector in place of noise under the mask, spans without overlap that hide a
third of the frames (what starts at 1 % of the frames with 400 ms hide on average), a cosine
schedule from 4e-4 of our own.

Command: sersl pretrain --config configs/pretrain/best_rq.py:base --workdir runs/best_rq \
    --config.data.data_dir=data --config.data.corpora=librilight
Presets: nano (tests), small (one GPU, hours), base (90 M parameters).
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset

STEPS = {"nano": 20, "small": 100_000, "base": 400_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"best_rq_{preset}"
    config.encoder = encoder_preset(preset)
    config.masking = {"rule": "uniform", "fraction": 0.33, "span": 20}
    config.objectives = {
        "best_rq": {"weight": 1.0, "codes": 8192, "width": 16},
    }
    config.optimizer = {"learning_rate": 4e-4, "warmup_fraction": 0.06}
    config.train = {"num_steps": STEPS[preset]}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.objectives.best_rq.codes = 64
    else:
        config.data = {"seconds_per_batch": 1600.0, "max_seconds": 15.6, "num_buckets": 6}
        config.encoder.update({"dtype": "bfloat16", "remat": "dots"})
    return config
