"""A small student of a published Whisper encoder, for CPUs and phones.

The student starts as a smaller copy of the encoder of init_from: its first layers, with some of
their channels, heads and hidden units, fitted layer by layer in closed form (reduction). small is
Whisper base's first layer as it is. The student then learns to predict the mean and the standard
deviation over the utterance of the teacher's layers. The teacher runs once over every utterance and
its copies at two other speeds; its statistics are kept beside the corpora. With _emotion the
student also learns functionals of the utterance (pitch, loudness, spectrum, rhythm).

Papers: pruning of channels with least-squares reconstruction (1707.06168) for the copy,
DistilHuBERT (2110.01900) for layers as targets of a small student, eGeMAPS (TAFFC 2016) for
functionals.
Differs: statistics of the utterance instead of frames, so that teacher and student may have other
numbers of frames and the teacher runs only once; each statistic standardized over the corpus.

Command: sersl import --source whisper-base --output models/whisper
    sersl pretrain --config configs/pretrain/student.py:tiny_copy --workdir runs/student \
    --config.init_from=models/whisper --config.data.data_dir=data --config.data.corpora=mine
With distillation: take tiny or tiny_emotion and add --config.kept_teachers=models/whisper
Presets: nano, nano_emotion, nano_alone (tests); tiny, tiny_copy, tiny_emotion, tiny_alone (0.9 M
parameters, without the table of positions); small, small_copy, small_emotion, small_alone (4.1 M).
copy is the smaller copy without training; alone is the same network from scratch, without init_from
and teacher, by the functionals.
Time: fitting the copy takes 15 CPU seconds; for training see docs/results/students.md.
Score: UAR 0.613 on RAVDESS by a frozen probe for tiny_copy, and 0.571 for tiny_emotion after 40
    steps (docs/results/students.md).
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset
from sersl.core.errors import unknown_name

STEPS = {"nano": 20, "tiny": 100, "small": 40}
SIZES = {
    "nano": {},
    "tiny": {"num_layers": 1, "width": 256, "num_heads": 4, "mlp_width": 768},
    "small": {"num_layers": 1, "width": 512, "num_heads": 8, "mlp_width": 2048},
}
PRESETS = (
    *(f"{size}{what}" for size in STEPS for what in ("", "_emotion", "_alone")),
    *("tiny_copy", "small_copy"),
)


def get_config(preset: str = "tiny_copy") -> ConfigDict:
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    size, _, what = preset.partition("_")
    config = ConfigDict()
    config.name = f"student_{preset}"
    config.frontend = frontend_preset("nano" if size == "nano" else "tiny")
    config.encoder = encoder_preset("nano" if size == "nano" else "tiny")
    config.encoder.update({"dropout": 0.0, **SIZES[size]})
    config.masking = {"rule": "none"}
    config.objectives = {}
    if what in ("", "emotion"):
        config.objectives.statistics = {"weight": 1.0, "layers": (2, 3, 4, 5)}
        config.kept_teachers = ("models/whisper",)
    if what:
        config.objectives.functionals = {"weight": 1.0}
    config.train = {"num_steps": STEPS[size], "log_every_steps": 20}
    if size == "nano":
        config.data = {"seconds_per_batch": 32.0, "max_seconds": 8.0, "num_buckets": 1}
        if what != "alone":
            config.objectives.statistics.layers = (1, 2)
        if what:
            config.objectives.functionals.hidden = 32
        return config
    # The network of a smaller Whisper encoder.
    config.frontend.update({"kind": "whisper", "window_seconds": 0.0})
    config.encoder.update({"positions": "sinusoidal", "key_bias": False, "final_norm": False})
    if what != "alone":
        config.reduction = {"seconds": 300.0}
    config.data = {"seconds_per_batch": 96.0, "max_seconds": 30.0, "num_buckets": 3}
    if what == "copy":
        config.train.num_steps = 1  # writes a checkpoint and changes nothing
        config.data.seconds_per_batch = 240.0
        config.optimizer = {"learning_rate": 1e-30, "weight_decay": 0.0}
        return config
    config.views = {"speeds": (0.9, 1.1)}
    config.optimizer = {"learning_rate": 3e-4 if size == "tiny" else 1e-4}
    return config
