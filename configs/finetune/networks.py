"""Published networks over spectral features, from scratch: one preset for each system.

The systems are presets of one file, since they differ only in the rows of SYSTEMS below: features,
network, pooling and head. Data, optimizer and protocol are the same for all, so that their scores
can be compared. What is as published and what differs is in docs/systems.md and in the docstring of
each network.

Papers: light_sernet (2110.03435), tim_net (2211.08233), ms_senet (2312.11974), gm_tcnet
(2210.15834), blstm (Mirsamadi et al. 2017), cnn_blstm with VTLP (1802.05630), cnn_blstm_attention
with gender (Li et al. 2019), acrnn, the 3-D network (Chen et al. 2018), acnn (1706.00612),
multiscale_cnn (2106.04133), stc_attention (Guo et al. 2021), two_stream (Li et al. 2018),
quaternion_cnn (2111.00404), ctl_mtnet (2207.10644), emohrnet (2510.06072), amsnet (Chen et al.
2023), strl_ser.
Command: sersl finetune --config configs/finetune/networks.py:tim_net --workdir runs/tim_net \
    --config.data.data_dir=data --config.data.corpora=ravdess --config.protocol.name=emobox
Presets: nano (tests), which is light_sernet with 4 channels, light_sernet, tim_net, ms_senet,
gm_tcnet, blstm, cnn_blstm, cnn_blstm_attention, acrnn, acnn, multiscale_cnn, stc_attention,
two_stream, quaternion_cnn, ctl_mtnet, emohrnet, amsnet, strl_ser, and ctl_mtnet_cross, which adapts
to the corpora of the test side without their labels (--config.data.corpora with two or more).
Time: 99 (acnn) to 708 (stc_attention) CPU seconds for a fold of RAVDESS; see docs/systems.md.
Score: UAR on fold 1 of RAVDESS 0.40 to 0.54, 0.523 for tim_net (docs/systems.md).
"""

from typing import Any

from ml_collections import ConfigDict

# Frontend, kind of features, number of windows in a frame, pooling, what else differs.
_MFCC_40 = {"kind": "mfcc", "num_coefficients": 40, "num_mels": 80}
_MFCC_39 = {"kind": "mfcc", "num_coefficients": 39, "num_mels": 80}
_ONE_QUERY = {"kind": "multi_head_attention", "num_heads": 1}
SYSTEMS: dict[str, dict[str, Any]] = {
    "light_sernet": {"frontend": _MFCC_40, "dropout": 0.3},
    "tim_net": {"frontend": _MFCC_39},
    "ms_senet": {"frontend": _MFCC_39},
    "gm_tcnet": {"frontend": _MFCC_39},
    "blstm": {
        "frontend": {"kind": "descriptors", "num_mels": 20},
        "pooling": _ONE_QUERY,
        "network": {"dropout": 0.5, "windows_per_frame": 1},
    },
    "cnn_blstm": {"frontend": {"num_mels": 40}, "distortion": {"vtlp_probability": 1.0}},
    "cnn_blstm_attention": {"frontend": {"num_mels": 40}, "tasks": {"gender_weight": 1.0}},
    "acrnn": {
        "frontend": {"num_mels": 40},
        "pooling": {"kind": "attention", "hidden": 256},
        "heads": {"kind": "gelu", "hidden": 64},
    },
    "acnn": {"frontend": {"num_mels": 26}, "pooling": {"kind": "attention", "hidden": 64}},
    "multiscale_cnn": {
        "frontend": {"kind": "mfcc", "num_coefficients": 32, "num_mels": 80},
        "pooling": {"kind": "statistics"},
    },
    "stc_attention": {"frontend": {"num_mels": 40}},
    "two_stream": {"frontend": {"kind": "mfcc", "num_coefficients": 26, "num_mels": 80}},
    "quaternion_cnn": {"frontend": {"num_mels": 40}},
    "ctl_mtnet": {"frontend": _MFCC_39, "network": {"dropout": 0.25}},
    "emohrnet": {"frontend": {"num_mels": 64}},
    "amsnet": {"frontend": _MFCC_39, "pooling": {"kind": "attention", "hidden": 64}},
    "strl_ser": {"frontend": {"num_mels": 40}},
    "ctl_mtnet_cross": {
        "frontend": _MFCC_39,
        "network": {"kind": "ctl_mtnet", "dropout": 0.25},
        "heads": {"kind": "gelu"},
        "domain": {"kind": "mdd", "margin": 1.5},
        "protocol": {"name": "cross-corpus", "final_model": False},
        "labels": {"view": "shared"},
    },
}
PRESETS = ("nano", *SYSTEMS)
DESCRIPTORS = 17  # beside two windows of mel filters in frontend.kind descriptors


def get_config(preset: str = "light_sernet") -> ConfigDict:
    kind = "light_sernet" if preset == "nano" else preset
    system = SYSTEMS[kind]
    config = ConfigDict()
    config.name = f"networks_{preset}"
    config.frontend = {"kind": "log_mel", "projection": False} | system["frontend"]
    frontend = config.frontend
    width = 2 * (frontend.num_coefficients if frontend.kind == "mfcc" else frontend.num_mels)
    if frontend.kind == "descriptors":
        width += DESCRIPTORS
    config.encoder = {
        "kind": "features",
        "num_layers": 1,
        "width": width,
        "positions": "none",
        "dropout": 0.0,
    }
    network = {"kind": kind, "windows_per_frame": 2} | system.get("network", {})
    config.pooling = {"kind": "mean", "layers": "last"} | system.get("pooling", {})
    config.pooling.network = network
    heads = {"kind": "linear", "dropout": system.get("dropout", 0.0)}
    config.heads = heads | system.get("heads", {})
    for group in ("distortion", "tasks", "domain", "protocol", "labels"):
        if group in system:
            config[group] = system[group]
    config.train = {"num_steps": 1200, "log_every_steps": 50}
    config.data = {"seconds_per_batch": 96.0, "max_seconds": 3.0, "num_buckets": 1}
    config.optimizer = {"learning_rate": 5e-3, "beta2": 0.999}
    config.augment = {"gain_db": 6.0}
    # Copies at other speeds take the place of speakers, of which small corpora have few.
    config.views = {"speeds": (0.85, 0.92, 1.08, 1.16)}
    config.evaluate_every_steps = 100
    config.checkpoint = {"every_steps": 200}
    if preset == "nano":
        config.pooling.network.width = 4
        config.views = {"speeds": ()}
        config.train = {"num_steps": 20}
        config.optimizer.learning_rate = 1e-2
        config.data = {"seconds_per_batch": 32.0, "max_seconds": 4.0, "num_buckets": 3}
        config.evaluate_every_steps = 10
    return config
