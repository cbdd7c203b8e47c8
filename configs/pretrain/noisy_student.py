"""Noisy student: predict a teacher's representation of clean speech from noisy speech.

Paper: contrastive teacher-student for emotion in noise (Leem et al.), in outline: the input of the
student has noise at 0 to 10 dB, the input of a frozen teacher is clean; frames are regressed, and
each noisy utterance is matched with its clean version among the batch.
Differs: the published settings were not available.

Command: sersl pretrain --config configs/pretrain/noisy_student.py:base --workdir runs/noisy \
    --config.data.data_dir=data --config.data.corpora=msp_podcast \
    --config.init_from=models/wavlm --config.frozen_teachers=models/wavlm
Presets: nano (tests; the teacher is an average of the student), base (95 M parameters).
Time: nano seconds on a CPU; not measured for base.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "base": 50_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"noisy_student_{preset}"
    config.frontend = frontend_preset(preset, frontend="waveform")
    config.encoder = encoder_preset(preset, frontend="waveform")
    config.masking = {"rule": "none"}
    config.objectives = {
        "denoise": {"weight": 1.0},
    }
    config.distortion = {"noise_probability": 0.8, "reverb_probability": 0.3}
    config.optimizer = {"learning_rate": 1e-4}
    config.train = {"num_steps": STEPS[preset]}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.encoder.position_groups = 4
        config.objectives.denoise.width = 16
        config.optimizer.learning_rate = 3e-3
    else:
        config.objectives.denoise.teacher = "frozen"
        config.frozen_teachers = ("models/wavlm",)
        config.data = {"seconds_per_batch": 1_280.0, "max_seconds": 10.0, "num_buckets": 4}
        config.encoder.update({"relative_bias": True, "dtype": "bfloat16", "remat": "dots"})
    return config
