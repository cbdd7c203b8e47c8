"""Every network over frames by name."""

from typing import Protocol

import jax

from sersl.config.frame_network import NetworkConfig
from sersl.core.errors import UserError, unknown_name
from sersl.models.networks.acnn import AttentiveConvolution
from sersl.models.networks.capsules import CapsuleNetwork
from sersl.models.networks.emohrnet import EmoHrNet
from sersl.models.networks.frame_layers import (
    FrameGraph,
    FrameSelection,
    ShiftedWindows,
    ShiftFormer,
)
from sersl.models.networks.light_sernet import LightSerNet
from sersl.models.networks.mstr import Mstr
from sersl.models.networks.multiscale_cnn import MultiScaleCnn
from sersl.models.networks.parallel_networks import AmsNet, StrlSer
from sersl.models.networks.quaternion_cnn import QuaternionCnn
from sersl.models.networks.recurrent_networks import Acrnn, Blstm, CnnBlstm, CnnBlstmAttention
from sersl.models.networks.relational_graph import RelationalGraph
from sersl.models.networks.stc_attention import StcNetwork
from sersl.models.networks.temporal import GmTcNet, MsSeNet, TimNet
from sersl.models.networks.two_stream import TwoStream
from sersl.models.networks.window_transformers import Dst, DwFormer


class FrameNetwork(Protocol):
    """Maps frames to frames that the pooling reads.

    Attributes:
      num_outputs: channels of an output frame.
    """

    num_outputs: int

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        ...


SPECTRAL: dict[
    str,
    type[LightSerNet] | type[TimNet] | type[MsSeNet] | type[GmTcNet] | type[CnnBlstm]
    | type[Acrnn] | type[AttentiveConvolution] | type[MultiScaleCnn] | type[StcNetwork]
    | type[TwoStream] | type[QuaternionCnn] | type[CapsuleNetwork] | type[EmoHrNet]
    | type[AmsNet] | type[StrlSer],
] = {
    "light_sernet": LightSerNet,
    "tim_net": TimNet,
    "ms_senet": MsSeNet,
    "gm_tcnet": GmTcNet,
    "cnn_blstm": CnnBlstm,
    "cnn_blstm_attention": CnnBlstmAttention,
    "acrnn": Acrnn,
    "acnn": AttentiveConvolution,
    "multiscale_cnn": MultiScaleCnn,
    "stc_attention": StcNetwork,
    "two_stream": TwoStream,
    "quaternion_cnn": QuaternionCnn,
    "ctl_mtnet": CapsuleNetwork,
    "emohrnet": EmoHrNet,
    "amsnet": AmsNet,
    "strl_ser": StrlSer,
}  # fmt: skip
FRAMES: dict[
    str,
    type[Blstm] | type[Dst] | type[DwFormer] | type[ShiftFormer] | type[ShiftedWindows]
    | type[FrameSelection] | type[FrameGraph] | type[Mstr] | type[RelationalGraph],
] = {
    "blstm": Blstm,
    "dst": Dst,
    "dwformer": DwFormer,
    "shiftformer": ShiftFormer,
    "shifted_windows": ShiftedWindows,
    "frame_selection": FrameSelection,
    "frame_graph": FrameGraph,
    "mstr": Mstr,
    "relational_graph": RelationalGraph,
}  # fmt: skip
NETWORKS = SPECTRAL | FRAMES


def make_network(num_inputs: int, config: NetworkConfig, *, key: jax.Array) -> FrameNetwork:
    """Makes the network of `config.kind` over frames of `num_inputs` channels.

    Raises:
      UserError: an unknown kind, or sizes that do not fit the frames.
    """
    if config.kind not in NETWORKS:
        raise unknown_name("pooling.network.kind", config.kind, ["none", *NETWORKS])
    windows = config.windows_per_frame
    if windows > 1 and config.kind not in SPECTRAL:
        raise UserError(
            f"pooling.network.windows_per_frame={windows} is for networks over spectra, and "
            f"pooling.network.kind={config.kind} reads whole frames: set it to 1"
        )
    if num_inputs % windows:
        raise UserError(
            f"pooling.network.windows_per_frame={windows} does not divide the {num_inputs} "
            "channels of a frame: set it to 1, or take frontend.kind 'log_mel' or 'mfcc' without "
            "projection"
        )
    return NETWORKS[config.kind](num_inputs, config, key=key)
