"""Builds frozen dataclasses of settings from a config file, a JSON file or the command line.

Loading is strict: an unknown key, a wrong type, an unknown choice or a number out of range is one
sentence that names the key and, for a misspelling, the nearest known name.
"""

import ast
import contextlib
import copy
import dataclasses
import importlib.util
import inspect
import json
import traceback
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from ml_collections import ConfigDict

from sersl.config.setting import check_setting, shown
from sersl.config.wishes import unknown_key
from sersl.core.errors import UserError, unknown_name
from sersl.core.files import parse_value, read_json, write_json

C = TypeVar("C")
_KIND_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


def load_config(cls: type[C], spec: str, overrides: Sequence[str] = ()) -> C:
    """Reads a config file and applies command-line overrides.

    Args:
      cls: `PretrainConfig` or `FinetuneConfig`.
      spec: "FILE.py" or "FILE.py:PRESET"; the file defines `get_config(preset)`, which returns a
        ConfigDict.
      overrides: strings such as "train.num_steps=200" or "data.corpora=ravdess,nemo".

    Returns:
      An instance of cls.

    Raises:
      UserError: missing file, a file that fails, no `get_config`, unknown preset, or see
        `from_mapping`.
    """
    path, preset = _split_preset(spec)
    with _sentence_for_failure(path, preset):
        module = _run_file(path)
        if not hasattr(module, "get_config"):
            raise UserError(
                f"config file {path} defines no get_config(preset): add one that returns a "
                "ConfigDict"
            )
        if preset and not inspect.signature(module.get_config).parameters:
            raise UserError(f"config file {path} takes no preset: remove {':' + preset!r}")
        given = module.get_config(preset) if preset else module.get_config()
    if not isinstance(given, ConfigDict | dict):
        raise UserError(
            f"get_config of config file {path} returns a {type(given).__name__}: make it return a "
            "ConfigDict"
        )
    values = given.to_dict() if isinstance(given, ConfigDict) else dict(given)
    return from_overrides(cls, overrides, values)


def load_sweep(spec: str) -> Any:
    """Gives what `get_sweep()` of a config file returns, or `get_sweep(preset)`.

    Args:
      spec: "FILE.py" or "FILE.py:PRESET".

    Raises:
      UserError: missing file, a file that fails, or no `get_sweep`.
    """
    path, preset = _split_preset(spec)
    with _sentence_for_failure(path, preset):
        module = _run_file(path)
        if not hasattr(module, "get_sweep"):
            raise UserError(
                f"config file {path} defines no get_sweep(): add one that returns a list of "
                "{setting: value}, or a grid {setting: list of values}"
            )
        takes_preset = bool(inspect.signature(module.get_sweep).parameters)
        return module.get_sweep(preset) if preset and takes_preset else module.get_sweep()


def _split_preset(spec: str) -> tuple[str, str]:
    """Splits "FILE.py:PRESET"; the path may have colons too."""
    if Path(spec).is_file():
        return spec, ""
    path, _, preset = spec.rpartition(":")
    return (path, preset) if path else (spec, "")


def from_overrides(
    cls: type[C], overrides: Sequence[str], values: Mapping[str, Any] | None = None
) -> C:
    """Builds a config dataclass from command-line overrides alone, or on top of some values.

    Args:
      cls: the dataclass.
      overrides: strings such as "ranker.seed=1".
      values: nested mapping; missing keys take the defaults.

    Returns:
      An instance of cls.

    Raises:
      UserError: see `from_mapping`.
    """
    changed = copy.deepcopy(dict(values or {}))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"override {override!r} has no value: write --config.{key}=VALUE")
        _set_nested(changed, cls, key, text)
    return from_mapping(cls, changed)


def from_mapping(cls: type[C], values: Mapping[str, Any], prefix: str = "") -> C:
    """Builds a config dataclass from nested mappings.

    Args:
      cls: the dataclass.
      values: nested mapping; missing keys take the defaults.
      prefix: dotted path of `values`, for messages.

    Returns:
      An instance of cls.

    Raises:
      UserError: unknown key, wrong type, unknown choice or a number out of range.
    """
    unknown = [key for key in values if key not in typing.get_type_hints(cls)]
    if unknown:
        raise unknown_key(prefix + str(unknown[0]), dotted_keys(cls, prefix))
    return cls(**{key: _convert(cls, key, value, prefix) for key, value in values.items()})


def to_dict(config: Any) -> dict[str, Any]:
    """Turns a config dataclass into JSON-able nested dicts and lists."""
    return parse_value(json.dumps(dataclasses.asdict(config)))


def save_json(config: Any, path: str | Path) -> None:
    """Writes all settings, defaults included, as indented JSON, whole or not at all."""
    write_json(path, to_dict(config))


def load_json(cls: type[C], path: str | Path) -> C:
    """Reads what `save_json` wrote; settings that are newer than the file take their defaults.

    Raises:
      UserError: the file is missing or damaged, or see `from_mapping`.
    """
    values = read_json(path, what="settings", remedy="give the config.json of a run")
    try:
        return from_mapping(cls, values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def dotted_keys(cls: type, prefix: str = "") -> list[str]:
    """Lists the settings of a group and of its nested groups, e.g. "train.num_steps"."""
    keys = []
    for key, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            keys += dotted_keys(typing.cast(type, hint), f"{prefix}{key}.")
        else:
            keys.append(prefix + key)
    return keys


def _run_file(path: str) -> ModuleType:
    file = Path(path)
    if not file.is_file():
        raise UserError(
            f"config file {path!r} does not exist: give a Python file such as configs/finetune/"
            "emotion.py or configs/pretrain/emotion_aware.py of the source of sersl"
        )
    spec = importlib.util.spec_from_file_location(f"sersl_config_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"config file {path} is not a Python file: give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _sentence_for_failure(path: str, preset: str) -> Iterator[None]:
    """Turns whatever a user's config file raises into one sentence with the line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        at = [
            (frame.lineno, frame.filename)
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        if preset and isinstance(error, KeyError) and error.args == (preset,):
            known = _presets(error)
            if known:
                raise unknown_name("preset", preset, known) from error
        where = f" line {at[-1][0]}" if at else ""
        cause = " ".join(str(error).split())
        raise UserError(
            f"config file {path}{where} cannot be run: {type(error).__name__}: {cause}"
        ) from error


def _presets(error: BaseException) -> list[str]:
    """Lists the presets of the config file that an error comes from: its PRESETS or STEPS."""
    at = error.__traceback__
    while at is not None and "get_config" not in at.tb_frame.f_globals:
        at = at.tb_next
    names = {} if at is None else at.tb_frame.f_globals
    return [str(name) for name in names.get("PRESETS") or names.get("STEPS") or ()]


def _set_nested(values: dict[str, Any], cls: type, key: str, text: str) -> None:
    """Writes one override, parsed by the type of its field, into nested dicts."""
    *groups, last = key.split(".")
    where, group = values, cls
    for depth, name in enumerate(groups):
        hint = typing.get_type_hints(group).get(name)
        if not dataclasses.is_dataclass(hint):
            raise unknown_key(key, dotted_keys(cls))
        where, group = where.setdefault(name, {}), typing.cast(type, hint)
        if not isinstance(where, dict):
            raise _not_a_group(".".join(groups[: depth + 1]), where)
    hint = typing.get_type_hints(group).get(last)
    if hint is None:
        raise unknown_key(key, dotted_keys(cls))
    if dataclasses.is_dataclass(hint):
        raise UserError(
            f"configuration key {key!r} is a group: set one of its keys, e.g. "
            f"{dotted_keys(typing.cast(type, hint), key + '.')[0]}"
        )
    where[last] = _parse(hint, text, key)


def _parse(hint: Any, text: str, key: str) -> Any:
    is_list = typing.get_origin(hint) is tuple
    if hint is str:
        return text
    if hint is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        # A bare word in a list of strings: --config.data.corpora=ravdess,nemo
        value = tuple(part for part in text.split(",") if part) if is_list else text
    if is_list and not isinstance(value, tuple | list):
        value = (value,)
    return _of_type(hint, value, key)


def _convert(cls: type, name: str, value: object, prefix: str) -> Any:
    """Converts one given value to the type of its field, and checks it."""
    hint, key = typing.get_type_hints(cls)[name], prefix + name
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise _not_a_group(key, value)
        return from_mapping(typing.cast(type, hint), value, key + ".")
    converted = _of_type(hint, value, key)
    check_setting(cls, name, converted, key)
    return converted


def _not_a_group(key: str, value: object) -> UserError:
    return UserError(f"configuration key {key!r} is a group of keys, not {shown(value)}")


def _of_type(hint: Any, value: object, key: str) -> Any:
    if typing.get_origin(hint) is tuple:
        return _tuple_of(typing.get_args(hint), value, key)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            return float(value)
    if type(value) is not hint:
        raise UserError(f"configuration key {key!r} takes {_KIND_NAMES[hint]}, not {shown(value)}")
    return value


def _tuple_of(hints: tuple[Any, ...], value: object, key: str) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UserError(f"configuration key {key!r} takes a list, not {shown(value)}")
    if hints[-1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(value) != len(hints):
        raise UserError(f"configuration key {key!r} takes {len(hints)} items, not {shown(value)}")
    return tuple(
        _of_type(hint, item, f"{key}[{i}]")
        for i, (hint, item) in enumerate(zip(hints, value, strict=True))
    )
