"""Multi-view contrast: match speech, mel spectrum and functionals of the same utterance.

Paper: pairwise contrastive learning (2406.07900); its temperature and widths are not published.
Differs: the speech encoder is trained with the views instead of frozen; the view of the mel
spectrum is a network over frames and a mean; functionals are sersl's own, similar to eGeMAPS and
standardized over the batch; every other row of the global batch is a negative.

Command: sersl pretrain --config configs/pretrain/multiview.py:base --workdir runs/multiview \
    --config.data.data_dir=data --config.data.corpora=iemocap --config.init_from=models/wav2vec2
Presets: nano (tests), tiny (CPU, log-mel), base (95 M parameters).
Time: nano seconds and tiny minutes on a CPU; not measured for base.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "tiny": 200, "base": 20_000}


def get_config(preset: str = "base") -> ConfigDict:
    frontend = "log_mel" if preset == "tiny" else "waveform"
    config = ConfigDict()
    config.name = f"multiview_{preset}"
    config.frontend = frontend_preset(preset, frontend=frontend)
    config.encoder = encoder_preset(preset, frontend=frontend)
    config.masking = {"rule": "none"}
    config.objectives = {
        "multiview": {"weight": 1.0, "views": ("speech", "mel", "functionals")},
    }
    config.optimizer = {"learning_rate": 5e-4 if preset != "base" else 1e-4}
    config.train = {"num_steps": STEPS[preset]}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.encoder.position_groups = 4
        config.objectives.multiview.update({"hidden": 32, "width": 16})
        config.optimizer.learning_rate = 3e-3
    elif preset == "tiny":
        config.data = {"seconds_per_batch": 96.0, "max_seconds": 3.0, "num_buckets": 2}
        config.train.log_every_steps = 20
    else:
        config.data = {"seconds_per_batch": 1_280.0, "max_seconds": 10.0, "num_buckets": 4}
        config.encoder.update({"dtype": "bfloat16", "remat": "dots"})
    return config
