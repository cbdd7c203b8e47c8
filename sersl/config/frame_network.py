"""Settings of a network between the frames of the encoder, or of features, and the pooling."""

from dataclasses import dataclass

from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Settings):
    """A published network over frames, which the pooling then reads."""

    kind: str = setting(
        "none",
        "none, or a network over spectrograms, e.g. light_sernet, tim_net or blstm, or over the "
        "frames of an encoder, e.g. dwformer; docs/systems.md lists them.",
    )
    windows_per_frame: int = setting(
        1,
        "Spectra side by side in a frame: 2 for the features of frontend.kind log_mel and mfcc, 1 "
        "for an encoder.",
        at_least=1,
        at_most=2,
    )
    width: int = setting(
        0, "Channels, of the first layer where they grow; 0: as published.", at_most=65_536,
        at_least=0,
    )  # fmt: skip
    depth: int = setting(0, "Layers or blocks; 0: as published.", at_least=0, at_most=1000)
    num_heads: int = setting(0, "Attention heads; 0: as published.", at_least=0, at_most=4096)
    dropout: float = setting(0.1, "Dropout between the layers.", at_least=0, below=1)
