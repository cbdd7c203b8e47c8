"""CPC for emotion: predict future frames among other frames of the same speaker.

Paper: Li et al. (2102.06357), on log-mel features with a recurrent context network of 256 units.
Settings that it does not publish are those of CPC (1807.03748) and its reference code: 12 steps,
128 negatives, crops of 1.28 s.
Differs: frames of 20 ms instead of 10 ms, so that the steps reach 240 ms ahead; linear predictors
instead of Transformers; batches mix speakers, where the reference code draws a batch from one
speaker, so that most rows have negatives of their own utterance only (the metric cpc_rows_alone);
gradients are clipped to norm 1; 200,000 updates instead of 200 epochs.

Command: sersl pretrain --config configs/pretrain/cpc.py:base --workdir runs/cpc \
    --config.data.data_dir=data --config.data.corpora=librispeech
Presets: nano (tests), base (one GPU).
Time: nano seconds on a CPU; base hours, not measured.
Score: none measured here.
"""

from ml_collections import ConfigDict

STEPS = {"nano": 20, "base": 200_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"cpc_{preset}"
    config.encoder = {"kind": "gru", "num_layers": 1, "width": 256, "dropout": 0.0}
    config.masking = {"rule": "none"}
    config.objectives = {
        "cpc": {"weight": 1.0, "steps": 12, "num_negatives": 128, "negatives": "speaker"},
    }
    config.optimizer = {"learning_rate": 2e-4, "schedule": "constant", "weight_decay": 0.0}
    config.optimizer.update({"warmup_fraction": 0.0, "beta2": 0.999, "epsilon": 1e-8})
    config.train = {"num_steps": STEPS[preset]}
    config.data = {"seconds_per_batch": 82.0, "max_seconds": 1.28, "num_buckets": 1}
    if preset == "nano":
        config.data.seconds_per_batch = 10.3  # 8 rows
        config.encoder.width = 32
        config.objectives.cpc.update({"steps": 4, "num_negatives": 16})
    return config
