"""Transformers and graphs over the frames of a frozen encoder: one preset for each system.

The frames of all layers are computed once and kept beside the corpus (1.3 GB for an hour of audio
through Whisper base; pooling.layers=last keeps a seventh); their learned sum, standardized by the
training side, goes through the network, and the network, the pooling and a linear head train. The
systems are presets of one file, since they differ in `pooling.network.kind` alone. What is as
published and what differs is in docs/systems.md.

Papers: dst (2302.13729), dwformer (2303.01694), shiftformer (2302.13277), shifted_windows (Speech
Swin, 2401.10536), frame_graph (compact graph, 2008.02063), frame_selection (DropFormer, frame
selection), mstr (2410.00390), relational_graph (COGMEN on one utterance, 2205.02455).
Command: sersl import --source whisper-base --output runs/whisper-base
    sersl finetune --config configs/finetune/windows.py:dwformer --workdir runs/dwformer \
    --config.init_from=runs/whisper-base --config.data.data_dir=data --config.data.corpora=ravdess \
    --config.protocol.name=emobox
Presets: dst, dwformer, shiftformer, shifted_windows, frame_selection, frame_graph, mstr and
relational_graph. The sizes of the encoder come from init_from.
Time: frame_graph 120 and relational_graph 157 CPU seconds for a fold of RAVDESS (docs/systems.md).
Score: UAR on RAVDESS, EmoBox's six folds: 0.710 (frame_graph); on the first fold 0.754
    (relational_graph).
"""

from ml_collections import ConfigDict

PRESETS = (
    "dst",
    "dwformer",
    "shiftformer",
    "shifted_windows",
    "frame_selection",
    "frame_graph",
    "mstr",
    "relational_graph",
)


def get_config(preset: str = "dwformer") -> ConfigDict:
    config = ConfigDict()
    config.name = f"windows_{preset}"
    config.unfreeze = (("encoder/.*", -1), (".*", 0))
    config.pooling = {"kind": "mean", "layers": "weighted", "network": {"kind": preset}}
    # A few channels of Whisper are hundreds of times larger than the others.
    config.pooling.standardize_outputs = True
    config.heads = {"kind": "linear", "dropout": 0.2}
    config.train = {"num_steps": 600, "log_every_steps": 50}
    # One shape of batches for recordings of about one length, more where a few are far longer.
    config.data = {"seconds_per_batch": 128.0, "max_seconds": 30.0, "min_real_share": 0.5}
    config.optimizer = {"learning_rate": 5e-4, "weight_decay": 0.05}
    config.evaluate_every_steps = 50
    config.checkpoint = {"every_steps": 200}
    return config
