"""Settings of a network over the utterances of a dialogue."""

from dataclasses import dataclass

from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class ConversationConfig(Settings):
    """Context between the pooled utterances of a dialogue and the heads."""

    kind: str = setting(
        "none",
        "none: every utterance alone. gru, transformer or graph: a network over the utterances of "
        "a dialogue, see docs/conversations.md.",
        choices=("none", "gru", "transformer", "graph"),
    )
    causal: bool = setting(
        False, "Use the turns before an utterance only, so that the model can stream."
    )
    width: int = setting(128, "Channels.", at_least=1, at_most=65_536)
    num_layers: int = setting(1, "Layers.", at_least=1, at_most=1000)
    num_heads: int = setting(4, "transformer: attention heads.", at_least=1, at_most=4096)
    past: int = setting(
        10, "transformer and graph: turns before an utterance that it reads.", at_least=0,
        at_most=100_000,
    )  # fmt: skip
    future: int = setting(
        10, "transformer and graph, unless causal: turns after an utterance that it reads.",
        at_least=0, at_most=100_000,
    )  # fmt: skip
    dropout: float = setting(0.2, "Dropout in the network.", at_least=0, below=1)
    dialogues_per_batch: int = setting(
        8, "Dialogues of a training step, a multiple of mesh.data * mesh.fsdp.", at_least=1
    )
    most_turns: int = setting(
        256, "A dialogue with more turns is refused: all are padded to the longest.", at_least=1
    )
