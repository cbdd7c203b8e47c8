"""Whether a start belongs to its run: same settings in all processes, same data as before."""

from collections.abc import Mapping
from pathlib import Path

from sersl.config.load import to_dict
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.core.bounded import read_bounded
from sersl.core.errors import UserError
from sersl.core.files import parse_value
from sersl.core.version import ALL, versions
from sersl.parallel.agreement import check_same
from sersl.runs.provenance import READ, read_origin

# Settings that may differ between hosts: where the data is, and how it is read.
_PER_HOST = ("data.data_dir", "data.threads", "data.processes", "data.prefetch")
# Other versions may compile another program, whose processes would deadlock.
_VERSIONS = ("sersl", "jax", "jaxlib", "libtpu")


def check_processes(config: FinetuneConfig | PretrainConfig, data: Mapping[str, str]) -> None:
    """Refuses processes that were started with other settings, data or versions than the first.

    Args:
      config: of the run.
      data: corpus to the fingerprint of its prepared data.

    Raises:
      UserError: there is a difference; the message names it and its host.
    """
    values = {
        key: value for key, value in flat(to_dict(config)).items() if not key.startswith(_PER_HOST)
    }
    found = versions(ALL)
    check_same(
        {
            **values,
            **{f"records of corpus {name}": fingerprint for name, fingerprint in data.items()},
            **{f"version of {name}": found.get(name) for name in _VERSIONS},
        }
    )


def check_data(workdir: Path, data: Mapping[str, str]) -> None:
    """Refuses to resume a run on other records than it was started on.

    Args:
      workdir: of a run that has trained, on the data of its corpora.json.
      data: corpus to the fingerprint of its prepared data, of the same corpora.

    Raises:
      UserError: a corpus has changed, or corpora.json is damaged.
    """
    path = workdir / "corpora.json"
    if not path.exists():
        return
    try:
        content = parse_value(read_bounded(path))
        listed = content["corpora"] if isinstance(content, dict) else content
        listed = [*listed, *(one for one in read_origin(workdir) if one["by"] in READ)]
        before = {corpus["corpus"]: corpus["fingerprint"] for corpus in listed}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}): remove it to go on, if the data is as it was"
        ) from error
    for name, fingerprint in data.items():
        if before.get(name, fingerprint) != fingerprint:
            raise UserError(
                f"workdir {workdir} holds a run on other records of corpus {name} (fingerprint "
                f"{before[name][:12]}, now {fingerprint[:12]}): prepare it as it was, or use "
                "another workdir"
            )


def flat(values: Mapping, prefix: str = "") -> dict:
    """Gives nested settings one dotted name each, such as "train.seed".

    Args:
      values: nested settings.
      prefix: of every name.

    Returns:
      Name to value.
    """
    found: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
