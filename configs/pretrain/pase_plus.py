"""PASE+: predict descriptors of the clean signal from a distorted one with many small heads.

Paper: PASE+ (2001.09239), with the workers of its code: waveform, log power spectra, mel and
gammatone filterbanks and MFCC (each with a short and a long window), prosody, functionals, local
and global information; distortions with its probabilities, context of 70 ms on each side.
Differs: the conv stack and Transformer of wav2vec 2.0 at 50 frames per second instead of SincNet
and QRNN; long windows have 64 ms; functionals are sersl's own; the worker of the waveform has one
hidden layer. A Transformer needs another optimization: one learning rate of 5e-4 with a warm-up of
8 % of the steps, where the paper has 1e-3 for the encoder, 5e-4 for the workers and no warm-up;
batches of 320 s in crops of 4 s for 200,000 updates, where the paper has batches of 16 crops of 2 s
for 400 epochs of 50 h, which is about the same audio; AdamW with weight decay 0.01 and clipping.

Command: sersl annotate --corpus librispeech --data_dir data
    sersl pretrain --config configs/pretrain/pase_plus.py:base --workdir runs/pase_plus \
    --config.data.data_dir=data --config.data.corpora=librispeech
The paper used 50 h of LibriSpeech.
Presets: nano (tests), tiny (CPU, log-mel), base (95 M parameters).
Time: nano seconds and tiny minutes on a CPU; not measured for base.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "tiny": 200, "base": 200_000}


def get_config(preset: str = "base") -> ConfigDict:
    frontend = "log_mel" if preset == "tiny" else "waveform"
    config = ConfigDict()
    config.name = f"pase_plus_{preset}"
    config.frontend = frontend_preset(preset, frontend=frontend)
    config.encoder = encoder_preset(preset, frontend=frontend)
    config.masking = {"rule": "none"}
    spectra = ("power", "power_long", "mel", "mel_long", "gammatone", "gammatone_long")
    cepstra = ("mfcc", "mfcc_long", "prosody", "functionals")
    config.objectives = {
        "workers": {"weight": 1.0, "names": ("waveform", *spectra, *cepstra)},
        "information": {"weight": 1.0},
    }
    config.distortion = {
        "reverb_probability": 0.5,
        "noise_probability": 0.4,
        "band_drop_probability": 0.35,
        "downsample_probability": 0.25,
        "clip_probability": 0.2,
        "chop_probability": 0.2,
    }
    # overlapped speech
    config.mixing = {"probability": 0.1, "max_share": 1.0, "lowest_db": 5.0, "highest_db": 10.0}
    config.optimizer = {"learning_rate": 5e-4, "schedule": "linear", "epsilon": 1e-8}
    config.train = {"num_steps": STEPS[preset]}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.objectives.workers.update({"hidden": 32, "context": 1, "chunk": 20})
        config.objectives.information.update({"hidden": 32, "chunk": 20})
        config.encoder.position_groups = 4
    elif preset == "tiny":
        config.data = {"seconds_per_batch": 64.0, "max_seconds": 2.0, "num_buckets": 2}
        config.train.log_every_steps = 20
    else:
        config.data = {"seconds_per_batch": 320.0, "max_seconds": 4.0, "num_buckets": 4}
        config.encoder.update({"dtype": "bfloat16", "remat": "dots"})
    return config
