"""Emotion predictor on an encoder imported from Hugging Face.

For wav2vec 2.0, HuBERT, WavLM, data2vec and Whisper. The head is that of transformers: a learned
sum of layers, a projection, the mean over time and one linear layer, so that the result loads in
`transformers.AutoModelForAudioClassification`. The convolutions stay frozen (wav2vec 2.0,
sec. 4.2); the Transformer is trained after 5 % of the steps.

Paper: wav2vec 2.0 (2006.11477) for what is frozen, SUPERB (2105.01051) for `frozen`.
Command: sersl import --source wav2vec2-base --output runs/wav2vec2-base
    sersl finetune --config configs/finetune/from_huggingface.py:base --workdir runs/finetune \
    --config.init_from=runs/wav2vec2-base --config.data.data_dir=data --config.data.corpora=ravdess
Presets: nano (tests), frozen (trains the head alone, as SUPERB), base (about 95 M parameters),
large (about 317 M). The sizes of the encoder come from init_from.
Time: nano seconds on a CPU; not measured for the others.
Score: none measured here.
"""

from ml_collections import ConfigDict

STEPS = {"nano": 20, "frozen": 2_000, "base": 4_000, "large": 4_000}
CONVOLUTIONS = "encoder/frontend/(convolutions|conv1|conv2)/.*"


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"from_huggingface_{preset}"
    config.train = {"num_steps": STEPS[preset]}
    config.pooling = {
        "kind": "mean",
        "layers": "weighted",
        "standardize_layers": False,
        "projection": 256,
    }
    config.heads = {"kind": "linear", "dropout": 0.0}
    config.augment = {
        "time_mask_fraction": 0.05,
        "channel_mask_fraction": 0.004,
        "gain_db": 6.0,
    }
    config.encoder = {"dropout": 0.1}
    config.data = {"seconds_per_batch": 128.0, "max_seconds": 10.0, "num_buckets": 4}
    config.checkpoint = {"every_steps": 500}
    config.evaluate_every_steps = 200
    # The head starts from scratch, the encoder from pretrained weights.
    config.optimizer = {"learning_rate": 5e-4, "weight_decay": 0.01}
    config.encoder_learning_rate_scale = 0.04  # 2e-5
    warmup = STEPS[preset] // 20
    config.unfreeze = ((CONVOLUTIONS, -1), ("encoder/.*", warmup), (".*", 0))
    if preset == "frozen":
        config.unfreeze = (("encoder/.*", -1), (".*", 0))
        config.augment = {"gain_db": 0.0}
        config.encoder.dropout = 0.0
        config.optimizer.learning_rate = 1e-3
    if preset == "large":
        config.encoder.update({"dtype": "bfloat16", "remat": "dots"})
        config.encoder_learning_rate_scale = 0.02  # 1e-5
    if preset == "nano":
        config.data = {"seconds_per_batch": 16.0, "max_seconds": 2.0, "num_buckets": 1}
        config.pooling.projection = 16
        config.evaluate_every_steps = 10
    return config
