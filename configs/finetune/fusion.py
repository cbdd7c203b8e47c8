"""Spectral features beside a frozen encoder: systems that fuse several views.

co_attention: the vectors of a BLSTM over MFCC and of a convolutional network over the log-mel
spectrogram give the weights of the encoder's frames.

Paper: Zou et al. 2022, Speech emotion recognition with co-attention based multi-level acoustic
    information (ICASSP).
Command: sersl finetune --config configs/finetune/fusion.py:co_attention --workdir runs/fusion \\
    --config.init_from=runs/wav2vec2-base --config.data.data_dir=data --config.data.corpora=ravdess
Presets: nano (tests), co_attention, cross_transformer. The sizes of the encoder come from
    init_from.
Time: 200 steps take 205 to 218 CPU seconds for a fold of RAVDESS.
Score: UAR on fold 1 of RAVDESS after 200 steps 0.676 (cross_transformer; 0.562 and co_attention
    0.418 without standardized frames), see docs/systems.md; the paper has UA 0.727 on IEMOCAP with
    speakers left out, without validation speakers.
"""

from ml_collections import ConfigDict

PRESETS = ("nano", "co_attention", "cross_transformer")


def get_config(preset: str = "co_attention") -> ConfigDict:
    if preset not in PRESETS:
        raise KeyError(preset)
    config = ConfigDict()
    config.name = f"fusion_{preset}"
    config.unfreeze = (("encoder/.*", -1), (".*", 0))
    config.fusion = {
        "kind": "cross_transformer" if preset == "cross_transformer" else "co_attention",
        "views": ("mfcc=mfcc", "spectrum=log_mel"),
        "networks": ("blstm", "multiscale_cnn"),
        "width": 128,
    }
    # A few channels of Whisper are hundreds of times larger than the others.
    config.pooling = {"kind": "attention", "layers": "weighted", "standardize_outputs": True}
    config.heads = {"kind": "gelu", "dropout": 0.3}
    config.train = {"num_steps": 600, "log_every_steps": 50}
    config.data = {"seconds_per_batch": 96.0, "max_seconds": 30.0, "num_buckets": 2}
    config.optimizer = {"learning_rate": 5e-4}
    config.evaluate_every_steps = 50
    config.checkpoint = {"every_steps": 200}
    if preset == "nano":
        config.fusion.width = 8
        config.pooling.network = {"width": 4}
        config.train = {"num_steps": 20}
        config.data = {"seconds_per_batch": 32.0, "max_seconds": 30.0, "num_buckets": 1}
        config.evaluate_every_steps = 10
    return config
