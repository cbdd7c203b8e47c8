"""BEST-RQ: predict the nearest random codeword to a random projection of each hidden frame.

Paper: BEST-RQ (2202.01855).
Differs: a Transformer instead of a Conformer; frames of 20 ms instead of 40 ms; a learned vector
instead of noise at masked frames; spans that do not overlap and hide a third of the frames, which
is what spans of 400 ms that start at 1 % of the frames hide on average; features are standardized
over each utterance before the projection instead of with the statistics of the corpus; a cosine
schedule from a peak of 4e-4.

Command: sersl pretrain --config configs/pretrain/best_rq.py:base --workdir runs/best_rq \
    --config.data.data_dir=data --config.data.corpora=librilight
Presets: nano (tests), small (one GPU), base (90 M parameters).
Time: nano seconds on a CPU; not measured for the others.
Score: none measured here.
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
