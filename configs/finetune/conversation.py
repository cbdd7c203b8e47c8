"""Emotion predictor that reads the context of a dialogue, on a frozen encoder.

The outputs of the encoder are computed once and kept beside the corpus. The mean and the standard
deviation over time of every hidden state, standardized over the training utterances, are the vector
of an utterance; a network over the utterances of a dialogue, which knows who speaks, comes before
the heads. none is the same without context, the baseline. The corpus needs dialogues, turns and
speakers; no dialogue is on two sides of a fold.

Paper: gru as DialogueRNN (Majumder et al. 2019, 1811.00405), graph as DialogueGCN (Ghosal et al.
2019, 1908.11540) with the relations of COGMEN (Joshi et al. 2022, 2205.02455); transformer with a
relative bias for the same and for other speakers. docs/conversations.md lists what differs.
Command: sersl prepare --corpus synthetic_dialogues --data_dir data
    sersl finetune --config configs/finetune/conversation.py:gru --workdir runs/conversation \
    --config.init_from=MODEL --config.data.data_dir=data --config.data.corpora=synthetic_dialogues
Presets: nano (tests), none, gru, transformer, graph.
Time: docs/conversations.md.
Score: docs/conversations.md, with and without context.
"""

from ml_collections import ConfigDict

PRESETS = ("nano", "none", "gru", "transformer", "graph")


def get_config(preset: str = "gru") -> ConfigDict:
    config = ConfigDict()
    config.name = f"conversation_{preset}"
    config.unfreeze = (("encoder/.*", -1), (".*", 0))
    config.protocol = {"name": "k-fold-by-dialogue", "num_folds": 3}
    config.pooling = {
        "kind": "statistics",
        "layers": "all",
        "standardize_layers": True,
        "standardize_outputs": True,
    }
    config.heads = {"kind": "linear", "dropout": 0.3, "label_smoothing": 0.1}
    config.conversation = {"kind": "gru" if preset == "nano" else preset, "width": 64}
    config.optimizer = {"learning_rate": 1e-3, "weight_decay": 0.05}
    config.data = {"seconds_per_batch": 360.0, "max_seconds": 30.0, "num_buckets": 1}
    config.train = {"num_steps": 300, "log_every_steps": 50}
    config.evaluate_every_steps = 50
    config.checkpoint = {"every_steps": 1000}
    if preset == "nano":
        config.train.num_steps = 20
        config.evaluate_every_steps = 10
        config.conversation.width = 8
        config.data.seconds_per_batch = 64.0
    return config
