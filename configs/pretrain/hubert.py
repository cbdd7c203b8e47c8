"""HuBERT: predict the k-means cluster of each masked frame.

Paper: HuBERT (2106.07447), BASE, both iterations. WavLM (2110.13900) is the second iteration with
--config.mixing.probability=0.2 and --config.encoder.relative_bias=True.
Differs: codes have 50 frames per second from the start; spans do not overlap and hide exactly 57 %
of the frames.

Command: first iteration (100 clusters of MFCC), then second (500 clusters of layer 6):
    sersl cluster --corpus librispeech --data_dir data --output runs/mfcc100 --num_codes 100
    sersl pretrain --config configs/pretrain/hubert.py:base --workdir runs/hubert1 \
        --config.data.data_dir=data --config.data.corpora=librispeech
    sersl cluster --corpus librispeech --data_dir data --output runs/layer6 --num_codes 500 \
        --features runs/hubert1 --layer 6
    sersl pretrain --config configs/pretrain/hubert.py:base_second --workdir runs/hubert2 \
        --config.data.data_dir=data --config.data.corpora=librispeech
Presets: nano (tests), base and base_second (95 M parameters).
Time: nano seconds on a CPU; base ran on 32 GPUs in the paper, not measured here.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "base": 250_000, "base_second": 400_000}
BOOKS = {"nano": ("mfcc8", 8), "base": ("mfcc100", 100), "base_second": ("layer6", 500)}


def get_config(preset: str = "base") -> ConfigDict:
    size, (book, codes) = preset.partition("_")[0], BOOKS[preset]
    config = ConfigDict()
    config.name = f"hubert_{preset}"
    config.frontend = frontend_preset(size, frontend="waveform")
    config.encoder = encoder_preset(size, frontend="waveform")
    config.masking = {"rule": "uniform", "fraction": 0.57, "span": 10}
    config.objectives = {
        "clusters": {"weight": 1.0, "books": (book,), "codes": (codes,)},
        "penalty": {"weight": 10.0},
    }
    config.optimizer = {"learning_rate": 5e-4, "schedule": "linear", "clip_norm": 10.0}
    if preset == "base":
        config.optimizer.warmup_fraction = 0.128  # 32,000 steps in both iterations
    config.train = {"num_steps": STEPS[preset]}
    if size == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
    else:
        config.data = {"seconds_per_batch": 2_880.0, "max_seconds": 15.6, "num_buckets": 6}
        config.encoder.update({"layer_drop": 0.05, "dtype": "bfloat16", "remat": "dots"})
    return config
