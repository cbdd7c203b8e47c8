"""HFLEA: align HuBERT with frame-level emotional states, in five stages.

Paper: frame-level emotional state alignment (2312.16383), settings of its published code.
Differs: spans do not overlap.

Command: the stages for one fold of IEMOCAP; the paper repeats them for each fold.
1. sersl cluster --corpus iemocap --data_dir data --output runs/layer9 --num_codes 500 \
       --features runs/hubert --layer 9
   sersl pretrain --config configs/pretrain/hflea.py:adapt --workdir runs/adapt \
       --config.data.data_dir=data --config.data.corpora=iemocap --config.init_from=runs/hubert
2. sersl finetune --config configs/finetune/emotion.py:small --workdir runs/finetuned \
       --config.data.data_dir=data --config.data.corpora=iemocap --config.init_from=runs/adapt
   sersl export --workdir runs/finetuned --output runs/finetuned/model --licence "research only"
3. sersl cluster --corpus iemocap --data_dir data --output runs/states --num_codes 50 \
       --features runs/finetuned/model --layer 9
4. sersl pretrain --config configs/pretrain/hflea.py:align --workdir runs/align \
       --config.data.data_dir=data --config.data.corpora=iemocap --config.init_from=runs/adapt
5. Repeat stage 2 with --config.init_from=runs/align.
Presets: nano (tests), adapt and align (HuBERT BASE).
Time: nano seconds on a CPU; not measured for the others.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "adapt": 20_000, "align": 20_000}
BOOKS = {"nano": ("mfcc8", 8), "adapt": ("layer9", 500), "align": ("states", 50)}


def get_config(preset: str = "align") -> ConfigDict:
    size, (book, codes) = "nano" if preset == "nano" else "base", BOOKS[preset]
    config = ConfigDict()
    config.name = f"hflea_{preset}"
    config.frontend = frontend_preset(size, frontend="waveform")
    config.encoder = encoder_preset(size, frontend="waveform")
    config.masking = {"rule": "uniform", "fraction": 0.57, "span": 10}
    config.objectives = {
        "clusters": {"weight": 1.0, "books": (book,), "codes": (codes,)},
        "penalty": {"weight": 10.0},
    }
    config.optimizer = {"learning_rate": 5e-4, "schedule": "linear", "warmup_fraction": 0.2}
    config.optimizer.clip_norm = 10.0
    config.train = {"num_steps": STEPS[preset]}
    if size == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
    else:
        config.data = {"seconds_per_batch": 350.0, "max_seconds": 15.6}  # 4 GPUs x 87.5 s
        config.encoder.update({"layer_drop": 0.05, "dtype": "bfloat16"})
    return config
