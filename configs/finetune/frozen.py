"""Emotion predictor on a frozen encoder: a linear layer on statistics of its layers.

The outputs of the encoder are computed once and kept beside the corpus, so that a fold takes
seconds. The layer reads the mean and the standard deviation over time of every hidden state, each
number standardized over the training utterances. base trains it with much dropout. ridge solves it
in closed form on the utterances and copies of them at two other speeds, for which the encoder runs
three times in all. functionals is ridge that also reads the functionals of the utterance (pitch,
loudness, spectrum, rhythm), if training speakers that are left out are recognized clearly better
with them; without that it gives the heads of ridge. It has no ONNX graph.

Paper: none; a combination of published parts (statistics pooling, dropout, label smoothing, ridge
regression, speed perturbation).
Command: sersl import --source whisper-base --output runs/whisper-base
    sersl finetune --config configs/finetune/frozen.py:base --workdir runs/frozen \
    --config.init_from=runs/whisper-base --config.data.data_dir=data --config.data.corpora=ravdess \
    --config.protocol.name=emobox
Presets: nano (tests), base, ridge, functionals. The sizes of the encoder come from init_from.
Time: Whisper base on RAVDESS, 50 (ridge) or 55 (base) CPU seconds for six folds once the outputs
    are kept, for which the encoder takes about 107 CPU seconds at each speed.
Score: UAR 0.786 there with ridge and functionals, 0.753 with base, on EmoBox's six folds
    (docs/results/frozen.md).
"""

from ml_collections import ConfigDict

STEPS = {"nano": 20, "base": 600, "ridge": 1, "functionals": 1}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"frozen_{preset}"
    config.unfreeze = (("encoder/.*", -1), (".*", 0))
    config.train = {"num_steps": STEPS[preset], "log_every_steps": 100}
    # Nothing is chosen on validation speakers, so that all speakers of the training side train.
    config.protocol = {"validation_fraction": 0.0}
    config.checkpoint = {"every_steps": 1000}
    config.evaluate_every_steps = 1000
    config.pooling = {
        "kind": "statistics",
        "layers": "all",
        "standardize_layers": True,
        "standardize_outputs": True,
    }
    config.heads = {
        "kind": "linear",
        "dropout": 0.8,
        "label_smoothing": 0.1,
        "output_deviation": 0.0,
    }
    config.optimizer = {"learning_rate": 2e-4, "weight_decay": 0.05}
    # One shape of batches for recordings of about one length, more where a few are far longer.
    config.data = {"seconds_per_batch": 360.0, "max_seconds": 30.0, "min_real_share": 0.5}
    if preset == "nano":
        config.data.seconds_per_batch = 64.0
        config.evaluate_every_steps = 10
    if STEPS[preset] == 1:  # solved
        config.solver = {"kind": "ridge"}
        config.views = {"speeds": (0.9, 1.1)}
        config.heads = {"kind": "linear", "bounded": False}
    if preset == "functionals":
        config.fusion = {"kind": "early", "views": ("functionals=functionals",)}
        config.solver.view_weights = (0.0, 0.2)
    return config
