"""Changes to a complete model folder: weights in int8, and notes for its card."""

from pathlib import Path

from sersl.core.bounded import read_bounded
from sersl.core.errors import UserError
from sersl.core.files import write_json
from sersl.release import card
from sersl.release.about import write_about
from sersl.release.architecture import flatten
from sersl.release.file_names import CARD, CONFIG, PREPROCESSOR, WEIGHTS
from sersl.release.folder import read_model
from sersl.release.int8_weights import packed
from sersl.release.layout import config_json, preprocessor_json
from sersl.release.tensors import write_safetensors

_MOST_NOTES = 1 << 16  # bytes


def read_notes(path: Path) -> str:
    """Reads Markdown for the card.

    Raises:
      UserError: the file cannot be read, is not UTF-8, or is longer than 64 KiB.
    """
    try:
        if path.stat().st_size > _MOST_NOTES:
            raise UserError(f"--notes {path} is longer than 64 KiB: shorten it")
        return read_bounded(path, most=_MOST_NOTES).decode("utf-8-sig").strip()
    except OSError as error:
        raise UserError(
            f"--notes {path} cannot be read ({error.strerror}): give a text file"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"--notes {path} is not UTF-8 text: convert it") from error


def rewrite(folder: Path, *, name: str, int8: bool = False, notes: str = "") -> None:
    """Changes the files of a model in place.

    Args:
      folder: complete, and not in use.
      name: of the model, for its card.
      int8: round the kernels of the encoder, see `sersl.release.int8_weights`. Only sersl reads the
        file then.
      notes: Markdown for the card; "" leaves those that it has.
    """
    model = read_model(folder)
    about, flat = dict(model.about), flatten(model.params)
    if notes:
        about["notes"] = notes
    if int8 and about.get("weights") != "int8":
        about |= {"weights": "int8", "layout": None}
        tensors = packed(flat)
        shapes = {key: value.shape for key, value in tensors.items()}
        rounded = {key for key, value in tensors.items() if value.dtype.name == "int8"}
        write_json(folder / CONFIG, config_json(model.architecture, None))
        write_json(folder / PREPROCESSOR, preprocessor_json(model.architecture, None))
        write_safetensors(folder / WEIGHTS, shapes, tensors.items(), int8=rounded)
    num_parameters = sum(value.size for value in flat.values())
    readme = card.render(about, name=name, num_parameters=num_parameters)
    (folder / CARD).write_text(readme, encoding="utf-8")
    write_about(folder, about)
