"""Reads `fusion.views`: names and sources of the further views of a run."""

import re
from collections.abc import Mapping
from pathlib import Path

from sersl.config.baseline import BaselineConfig
from sersl.config.fusion import FusionConfig
from sersl.config.schema import CombineConfig, FinetuneConfig
from sersl.core.errors import UserError
from sersl.data.view_tables import SUFFIXES
from sersl.models.fusion.view_fusion import JOINT, MAIN

FEATURES = ("mfcc", "log_mel", "descriptors", "functionals")
_NAME = re.compile("[a-z][a-z0-9_]{0,39}")


def view_sources(config: FusionConfig) -> dict[str, str]:
    """Reads names and sources in order.

    Raises:
      UserError: not NAME=SOURCE, a name twice, or views without a fusion or the other way round.
    """
    found: dict[str, str] = {}
    for one in config.views:
        name, equals, source = one.partition("=")
        if not equals or not source or not _NAME.fullmatch(name) or name in (MAIN, JOINT):
            raise UserError(
                f"fusion.views has {one!r}: write NAME=SOURCE, with a name of lower-case letters, "
                f"digits and _ that is neither {MAIN} nor {JOINT}, such as text=words.parquet"
            )
        if name in found:
            raise UserError(f"fusion.views has two views {name!r}: give each a name of its own")
        found[name] = source
    if (config.kind == "none") != (not found):
        wrong = "fusion.kind is none" if found else f"fusion.kind={config.kind!r} has no views"
        raise UserError(
            f"{wrong}: set both fusion.kind (such as early) and fusion.views (NAME=SOURCE), or "
            "neither"
        )
    return found


def is_table(source: str) -> bool:
    """Tells whether a source is a table of vectors."""
    return Path(source).suffix in SUFFIXES


def encoder_folders(config: FusionConfig) -> dict[str, str]:
    """Lists the views that are encoders: name to folder, whose weights a run needs."""
    return {
        name: source
        for name, source in view_sources(config).items()
        if source not in FEATURES and not is_table(source)
    }


def check_fusion(config: FinetuneConfig, sources: Mapping[str, str]) -> None:
    """Refuses settings that do not go with further views.

    Args:
      config: of the run.
      sources: of its views.

    Raises:
      UserError: naming the setting.
    """
    if not sources:
        if config.fusion != FusionConfig():
            raise UserError(
                "settings of fusion hold for further views, and fusion.kind is none: set "
                "fusion.kind and fusion.views too, or leave fusion at its defaults"
            )
        return
    wrong = ""
    if config.baseline.kind != BaselineConfig().kind:
        wrong = f"baseline.kind={config.baseline.kind!r} reads features of its own: set it to none"
    elif config.fusion.networks and len(config.fusion.networks) != len(sources):
        wrong = (
            f"fusion.networks has {len(config.fusion.networks)} kinds for {len(sources)} views: "
            "give one for each, such as none"
        )
    elif any(
        is_table(source) and kind != "none"
        for source, kind in zip(sources.values(), config.fusion.networks, strict=False)
    ):
        wrong = "fusion.networks has a kind for a table, which takes none: write none for it"
    elif config.domain.normalize != "none":
        wrong = "domain.normalize standardizes the main encoder alone: set it to none"
    elif config.co_teaching.noise:
        wrong = "co_teaching has a second head for the main encoder alone: set its noise to 0"
    elif config.adaptation.head_steps:
        wrong = "adaptation.head_steps trains heads of the main encoder alone: set it to 0"
    elif config.encoder.scan_layers:
        wrong = "encoder.scan_layers stacks the layers of one encoder: set it to False"
    elif any(map(is_table, sources.values())) and config.combine != CombineConfig():
        wrong = "combine mixes the audio of two rows, not their tables: set its probabilities to 0"
    if wrong:
        raise UserError(f"fusion.views gives the model further views, but {wrong}")
