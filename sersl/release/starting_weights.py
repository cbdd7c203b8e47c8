"""Weights to start training from: those of a run, of a released or of an imported folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sersl.config.load import from_mapping
from sersl.config.schema import EncoderConfig, FinetuneConfig, FrontendConfig
from sersl.core.errors import UserError
from sersl.core.fields import Fields
from sersl.core.files import read_json
from sersl.finetuning.fusion.view_sources import encoder_folders
from sersl.models.transformer import unstack_layers
from sersl.release.folder import read_model
from sersl.release.hub.finding import find_model
from sersl.runs.checkpoint import has_item, load_params
from sersl.runs.initial_weights import InitialWeights
from sersl.runs.provenance import corpora_of_run


def read_weights(source: str | Path, *, setting: str = "init_from") -> InitialWeights:
    """Reads the weights of a run (its teacher where it has one) or of a model folder.

    Args:
      source: workdir of `sersl pretrain`, a folder that `sersl export` or `sersl import` wrote, or
        a model on a hub, see `find_model`; of an imported one the encoder alone, since its heads
        predict other names.
      setting: that names it, for messages.

    Returns:
      The weights and the settings of frontend and encoder.

    Raises:
      UserError: the folder is neither, or is damaged.
    """
    given, source = str(source), find_model(source)
    if (source / "model.safetensors").is_file():
        if not (source / "sersl.json").is_file():
            raise UserError(
                f"{setting}={str(source)!r} is a model of Hugging Face: import it first, with "
                f"`sersl import --source {source} --output DIR`, and give that DIR"
            )
        released = read_model(source)
        params = released.params
        adaptation = released.architecture.adaptation
        if adaptation is not None:
            raise UserError(
                f"{setting}={str(source)!r} has an encoder with adaptation.method="
                f"{adaptation.method}, which cannot be trained further: start from the model "
                "before adaptation"
            )
        if released.about["imported"] is not None:
            params = {"encoder": params["encoder"]}
        return InitialWeights(
            params=params,
            frontend=released.architecture.frontend,
            encoder=released.architecture.encoder,
            source=given,
            corpora=corpora_of_model(released.about),
            predicts={
                "category": released.architecture.categories,
                "dimensions": released.architecture.dimensions,
            },
        )
    if not (source / "config.json").is_file() or not (source / "checkpoints").is_dir():
        raise UserError(
            f"{setting}={str(source)!r} is neither the workdir of a `sersl pretrain` run nor a "
            "released model folder: it has neither checkpoints/ nor model.safetensors"
        )
    teacher = has_item(source, "teacher")
    params = load_params(source, "teacher") if teacher else load_params(source)
    path, remedy = source / "config.json", "give the workdir of a `sersl pretrain` run"
    config = Fields(
        read_json(path, what="settings of a run", remedy=remedy), where=str(path), remedy=remedy
    )
    return InitialWeights(
        params=unstack_layers(params),
        frontend=from_mapping(FrontendConfig, config.group("frontend"), f"{path}: frontend."),
        encoder=from_mapping(EncoderConfig, config.group("encoder"), f"{path}: encoder."),
        source=str(source),
        corpora=corpora_of_run(source),
    )


def read_view_weights(config: FinetuneConfig) -> dict[str, InitialWeights]:
    """Reads the weights of the views of `fusion.views` that are encoders, by name.

    Raises:
      UserError: as `read_weights`, or `fusion.views` is wrong.
    """
    return {
        name: read_weights(folder, setting=f"fusion.views {name}")
        for name, folder in encoder_folders(config.fusion).items()
    }


def corpora_of_model(about: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Lists what a released model was trained on, and what that was made from.

    Args:
      about: content of its sersl.json.

    Returns:
      {"corpus", "version", "fingerprint", "labels_used", ...} of each.
    """
    # Earlier versions did not record whether labels were used; models that predict them used them.
    predicts = about["heads"] is not None
    corpora = [{"labels_used": predicts, **corpus} for corpus in about["corpora"]]
    return (*corpora, *about["origin"])


def labels_of(corpora: Sequence[Mapping]) -> list[dict]:
    """Chooses the corpora whose labels were used.

    Args:
      corpora: of `InitialWeights`.

    Returns:
      {"corpus", "version", "fingerprint"} of each.
    """
    return [
        {key: corpus[key] for key in ("corpus", "version", "fingerprint") if key in corpus}
        for corpus in corpora
        if corpus["labels_used"]
    ]
