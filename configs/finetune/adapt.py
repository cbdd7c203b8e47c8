"""Emotion predictor on a pretrained encoder whose upper layers are adapted.

The frontend and the lower layers are frozen: their output is computed once and kept beside the
corpus. Of each utterance every step processes a random share of the frames. Pooling and head train
first, on the pooled output of the encoder as it is.

Paper: none; a combination of published parts (linear probing, then fine-tuning, 2202.10054).
Command: sersl import --source whisper-base --output runs/whisper-base
    sersl finetune --config configs/finetune/adapt.py:base --workdir runs/adapted \
    --config.init_from=runs/whisper-base --config.data.data_dir=data --config.data.corpora=ravdess \
    --config.protocol.name=emobox
Presets: nano (tests), base. The sizes of the encoder come from init_from.
Time: Whisper base on RAVDESS, 159 CPU seconds a fold once the output of the frozen layers is kept.
Score: UAR 0.764 there, on the first two of EmoBox's six folds, where the frozen preset has 0.768
(docs/results/adapted.md).
"""

from ml_collections import ConfigDict

STEPS = {"nano": 20, "base": 150}
HEAD_STEPS = {"nano": 10, "base": 500}
TRAINED_LAYERS = {"nano": 1, "base": 2}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"adapt_{preset}"
    config.unfreeze = ((".*", 0),)
    config.adaptation = {
        "method": "full",
        "trained_layers": TRAINED_LAYERS[preset],
        "frame_share": 0.3,
        "head_steps": HEAD_STEPS[preset],
    }
    config.train = {"num_steps": STEPS[preset], "log_every_steps": 20}
    # Nothing is chosen on validation speakers, so that all speakers of the training side train.
    config.protocol = {"validation_fraction": 0.0}
    config.checkpoint = {"every_steps": 100}
    config.evaluate_every_steps = 1000
    config.encoder = {"dropout": 0.0}
    config.pooling = {
        "kind": "statistics",
        "layers": "all",
        "standardize_layers": False,
        "standardize_outputs": True,
    }
    config.heads = {
        "kind": "linear",
        "dropout": 0.8,
        "label_smoothing": 0.1,
        "output_deviation": 0.0,
    }
    config.optimizer = {
        "learning_rate": 2e-4,
        "warmup_fraction": 0.1,
        "epsilon": 1e-8,
        "weight_decay": 0.05,
    }
    config.encoder_learning_rate_scale = 0.5
    # One shape of batches for recordings of about one length, more where a few are far longer.
    config.data = {"seconds_per_batch": 180.0, "max_seconds": 30.0, "min_real_share": 0.5}
    if preset == "nano":
        config.data.seconds_per_batch = 64.0
        config.evaluate_every_steps = 10
    return config
