"""Emotion predictor on an encoder that was imported from Hugging Face.

wav2vec 2.0, HuBERT, WavLM, data2vec or Whisper, with the head that transformers knows: a learned
sum of layers, a projection, mean over time, one linear layer. So what is trained here loads in
`transformers.AutoModelForAudioClassification`. The convolutions stay as they are (wav2vec 2.0,
sec. 4.2), the Transformer joins when the head has learned its first lesson.

Command: sersl import --source wav2vec2-base --output runs/wav2vec2-base
    sersl finetune --config configs/finetune/from_huggingface.py:base --workdir runs/finetune \
    --config.init_from=runs/wav2vec2-base --config.data.data_dir=data --config.data.corpora=ravdess
Presets: nano (tests, seconds), frozen (only the head learns, as in SUPERB), base (about 95 M
parameters), large (about 317 M; bfloat16, products kept, the rest recomputed).
The encoder's sizes come from init_from. Scores: none measured here yet.
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
    # The head learns from nothing, the encoder only moves.
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
