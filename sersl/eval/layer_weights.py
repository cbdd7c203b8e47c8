"""The weights of the layers in the weighted sum of a fold's model, kept beside its answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sersl.core.errors import UserError
from sersl.core.files import check_name, write_json
from sersl.eval.workdir_files import read_json

_FILE = "layers.json"
_REMEDY = "remove it to report without it"


def write_layer_weights(folder: Path, params: Mapping[str, Any]) -> None:
    """Writes the shares of the layers to the folder of a fold, if the model learns a weighted sum.

    Args:
      folder: of the fold.
      params: of the model, nested; `pooling/layer_weights` is float32 [L + 1].
    """
    if "layer_weights" not in params.get("pooling", {}):
        return
    logits = np.asarray(params["pooling"]["layer_weights"], np.float64)
    shares = np.exp(logits - logits.max())
    write_json(folder / _FILE, [round(share, 6) for share in (shares / shares.sum()).tolist()])


def read_layer_weights(workdir: Path, folds: Sequence[str]) -> dict[str, list[float]]:
    """Reads the shares of each fold that has them.

    Args:
      workdir: of the run.
      folds: names of the folds.

    Returns:
      {fold: L + 1 shares}.

    Raises:
      UserError: a file is damaged.
    """
    found = {}
    for fold in folds:
        path = workdir / "folds" / check_name(fold, what="fold") / _FILE
        if not path.exists():
            continue
        shares = read_json(path, remedy=_REMEDY)
        numbers = isinstance(shares, list) and all(type(share) in (int, float) for share in shares)
        if not numbers or not all(0 <= share <= 1 for share in shares):
            raise UserError(f"{path} must be a list of shares from 0 to 1: {_REMEDY}")
        found[fold] = shares
    return found
