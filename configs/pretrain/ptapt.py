"""P-TAPT: continue pretraining on the target corpus with emotional pseudo-labels of three sizes.

Paper: Chen & Rudnicky (2110.06309), sec. 2.3; settings of its published code. The labels are
clusters of a layer of a model that was fine-tuned for emotion: there a wav2vec with a strided
convolution, here any model folder.
Differs: spans do not overlap; the learning rate decays right after the warm-up of 100 steps, where
the published code keeps it for 5 % of the steps; gradients are clipped to norm 1.

Command: for each of 64, 512 and 4096 clusters, then the pretraining:
    sersl cluster --corpus iemocap --data_dir data --output runs/emotion64 --num_codes 64 \
        --features runs/finetuned/model --layer 12
    sersl pretrain --config configs/pretrain/ptapt.py:base --workdir runs/ptapt \
        --config.data.data_dir=data --config.data.corpora=iemocap \
        --config.init_from=runs/wav2vec2
Presets: nano (tests), base (wav2vec 2.0 BASE).
Time: nano seconds on a CPU; not measured for base.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "base": 20_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"ptapt_{preset}"
    config.frontend = frontend_preset(preset, frontend="waveform")
    config.encoder = encoder_preset(preset, frontend="waveform")
    config.masking = {"rule": "uniform", "fraction": 0.06, "span": 15}
    config.objectives = {
        "clusters": {
            "weight": 1.0,
            "books": ("emotion64", "emotion512", "emotion4096"),
            "codes": (64, 512, 4096),
            "similarity": "linear",
            "width": 256,
        },
    }
    config.optimizer = {"learning_rate": 1e-4, "schedule": "linear", "warmup_fraction": 0.005}
    config.optimizer.update({"beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0})
    config.train = {"num_steps": STEPS[preset]}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.objectives.clusters.update({"books": ("mfcc8", "mfcc16"), "codes": (8, 16)})
    else:
        config.data = {"seconds_per_batch": 320.0, "max_seconds": 12.0}  # 64 utterances
        config.encoder.update({"dtype": "bfloat16"})
    return config
