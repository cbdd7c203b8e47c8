"""From a config file, a JSON file or command-line overrides to a frozen dataclass; strict.

A misspelt key, a wrong type or an unknown preset is one sentence naming the nearest known name.
"""

import ast
import contextlib
import dataclasses
import importlib.util
import inspect
import json
import traceback
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from sersl.config.ranges import check_ranges
from sersl.core.errors import UserError, unknown_name

C = typing.TypeVar("C")
_KIND_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


def load_config(cls: type[C], spec: str, overrides: Sequence[str] = ()) -> C:
    """Reads a config file and applies command-line overrides.

    Args:
      cls: `PretrainConfig` or `FinetuneConfig`.
      spec: "FILE.py" or "FILE.py:ARG"; the file defines `get_config(arg)` returning a ConfigDict,
        ARG is its preset.
      overrides: strings such as "train.num_steps=200" or "data.corpora=ravdess,nemo".

    Returns:
      An instance of cls.

    Raises:
      UserError: missing file, a file that fails, no `get_config`, unknown preset, unknown key,
        wrong type or a number out of range.
    """
    path, _, argument = spec.partition(":")
    file = Path(path)
    if not file.is_file():
        raise UserError(
            f"config file {path!r} does not exist: give a Python file such as configs/"
            "pretrain/emotion_aware.py"
        )
    module_spec = importlib.util.spec_from_file_location(f"sersl_config_{file.stem}", file)
    if module_spec is None:
        raise UserError(f"config file {path} is no Python file: give one that ends in .py")
    module = importlib.util.module_from_spec(module_spec)
    with _sentence_for_failure(path):
        module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(
            f"config file {path} defines no get_config(arg): add one that returns a ConfigDict"
        )
    if argument and not inspect.signature(module.get_config).parameters:
        raise UserError(f"config file {path} takes no preset: drop {':' + argument!r}")
    with _sentence_for_failure(path):
        given = module.get_config(argument) if argument else module.get_config()
    if not isinstance(given, ConfigDict | dict):
        raise UserError(
            f"config file {path}: get_config gives {type(given).__name__}: make it return a "
            "ConfigDict"
        )
    values = given.to_dict() if isinstance(given, ConfigDict) else dict(given)
    return from_overrides(cls, overrides, values)


def from_overrides(cls: type[C], overrides: Sequence[str], values: dict | None = None) -> C:
    """Builds a config dataclass from command-line overrides alone, or on top of some values.

    Args:
      cls: the dataclass.
      overrides: strings such as "ranker.seed=1".
      values: nested dict, written into; missing keys take the defaults.

    Returns:
      An instance of cls.

    Raises:
      UserError: as `load_config`.
    """
    values = {} if values is None else values
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"override {override!r} has no value: write --config.{key}=VALUE")
        _set_nested(values, cls, key, text)
    return from_mapping(cls, values)


def from_mapping(cls: type[C], values: Mapping, prefix: str = "") -> C:
    """Builds a config dataclass from nested mappings: keys known, types and ranges right.

    Args:
      cls: the dataclass.
      values: nested mapping; missing keys take the defaults.
      prefix: dotted path of `values`, for messages.

    Returns:
      An instance of cls.

    Raises:
      UserError: unknown key, wrong type or a number out of range.
    """
    hints = typing.get_type_hints(cls)
    unknown = [key for key in values if key not in hints]
    if unknown:
        raise unknown_name("configuration key", prefix + str(unknown[0]), _dotted_keys(cls, prefix))
    config = cls(**{key: _coerce(hints[key], value, prefix + key) for key, value in values.items()})
    check_ranges(config, prefix)
    return config


def to_dict(config) -> dict:
    """Turns a config dataclass into JSON-able nested dicts and lists."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def save_json(config, path: str | Path) -> None:
    """Writes the resolved config, every default included, as indented JSON.

    A disk that is full, or a kill, leaves the old file or the new one.

    Args:
      config: a config dataclass.
      path: the file.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(to_dict(config), indent=1) + "\n")
    part.replace(path)


def load_json(cls: type[C], path: str | Path) -> C:
    """Reads what `save_json` wrote.

    Raises:
      UserError: the file is missing, no JSON, or has keys this version does not know.
    """
    try:
        values = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"config {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"config {path} is no JSON object: give the config.json of a run")
    return from_mapping(cls, values)


@contextlib.contextmanager
def _sentence_for_failure(path: str) -> Iterator[None]:
    """Turns whatever a user's config file raises into one sentence with the line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        lines = [
            at.lineno
            for at in traceback.extract_tb(error.__traceback__)
            if at.filename == str(path)
        ]
        where = f" line {lines[-1]}" if lines else ""
        cause = " ".join(str(error).split())
        raise UserError(
            f"config file {path}{where} cannot be run: {type(error).__name__}: {cause}"
        ) from error


def _dotted_keys(cls: type, prefix: str = "") -> list[str]:
    keys = []
    for key, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            keys += _dotted_keys(hint, f"{prefix}{key}.")
        else:
            keys.append(prefix + key)
    return keys


def _set_nested(values: dict, cls: type, key: str, text: str) -> None:
    """Writes one override, parsed by the type of its field, into nested dicts."""
    parts, where, hint = key.split("."), values, cls
    for i, part in enumerate(parts):
        hints = typing.get_type_hints(hint) if dataclasses.is_dataclass(hint) else {}
        if part not in hints:
            raise unknown_name("configuration key", key, _dotted_keys(cls))
        hint = hints[part]
        if i < len(parts) - 1:
            where = where.setdefault(part, {})
    if dataclasses.is_dataclass(hint):
        raise UserError(
            f"configuration key {key!r} is a group: set one of its keys, e.g. "
            f"{_dotted_keys(hint, key + '.')[0]}"
        )
    where[parts[-1]] = _parse(hint, text, key)


def _parse(hint, text: str, key: str):
    if hint is str:
        return text
    if hint is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        # A bare word in a list of strings: --config.data.corpora=ravdess,nemo
        value = tuple(part for part in text.split(",") if part)
        if typing.get_origin(hint) is not tuple:
            value = text
    if typing.get_origin(hint) is tuple and not isinstance(value, tuple | list):
        value = (value,)
    return _coerce(hint, value, key)


def _coerce(hint, value, key: str):
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(f"configuration key {key!r} is a group of keys, not {value!r}")
        return from_mapping(hint, value, key + ".")
    if typing.get_origin(hint) is tuple:
        return _coerce_tuple(typing.get_args(hint), value, key)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise UserError(f"configuration key {key!r} takes {_KIND_NAMES[hint]}, not {value!r}")
    return value


def _coerce_tuple(args: tuple, value, key: str) -> tuple:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UserError(f"configuration key {key!r} takes a list, not {value!r}")
    if args[-1] is Ellipsis:
        return tuple(_coerce(args[0], item, f"{key}[{i}]") for i, item in enumerate(value))
    if len(value) != len(args):
        raise UserError(f"configuration key {key!r} takes {len(args)} items, not {value!r}")
    return tuple(
        _coerce(arg, item, f"{key}[{i}]")
        for i, (arg, item) in enumerate(zip(args, value, strict=True))
    )
