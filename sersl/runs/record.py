"""The record of every start of a run: time, host, code, versions and data."""

import datetime
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import jax
from jax.sharding import Mesh

from sersl.core.version import ALL, versions
from sersl.corpora.index import read_summary
from sersl.data.sources import CorpusSource
from sersl.eval.workdir_files import STARTS, digests
from sersl.parallel.mesh import describe
from sersl.runs.provenance import READ

_ROOT = Path(__file__).parents[2]  # of the source tree, where there is one


def record_start(workdir: str | Path, *, start_step: int, mesh: Mesh, data: dict[str, str]) -> None:
    """Appends one line to `starts.jsonl`, with digests of the files written so far.

    Args:
      workdir: of the run.
      start_step: updates done before this start.
      mesh: of the run.
      data: of `fingerprints`.
    """
    line = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "step": start_step,
        "command": sys.argv,
        "host": socket.gethostname(),
        "processes": jax.process_count(),
        "mesh": describe(mesh),
        "device": mesh.devices.flat[0].device_kind,
        "git": git_state(_ROOT),
        "versions": versions(ALL),
        "data": data,
        "files": digests(Path(workdir)),
    }
    with (Path(workdir) / STARTS).open("a+b") as file:
        if file.tell() and not _ends_with_newline(file):
            file.write(b"\n")  # a start that was killed while it wrote
        file.write(json.dumps(line).encode() + b"\n")


def _ends_with_newline(file: IO[bytes]) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def fingerprints(sources: Sequence[CorpusSource], origin: Sequence[Mapping]) -> dict[str, str]:
    """Lists the fingerprints of the prepared data that a run reads.

    Args:
      sources: corpora that are trained on.
      origin: of `sersl.runs.provenance.gather_origin`, which lists other corpora that are read.

    Returns:
      Corpus to fingerprint.
    """
    recorded = [one for one in origin if one["by"] in READ]
    known = [*(source.index.names() for source in sources), *recorded]
    return {corpus["corpus"]: corpus["fingerprint"] for corpus in known}


def describe_corpora(sources: Sequence[CorpusSource], *, labels_used: bool) -> list[dict]:
    """Lists the corpora that are trained on.

    Args:
      sources: corpora in order.
      labels_used: whether training uses their categories or dimensions.

    Returns:
      Name, version, fingerprint, size, licence and `labels_used` of each.
    """
    return [
        {
            **source.index.names(),
            "num_utterances": len(source.index),
            "num_speakers": len(set(source.index.column("speaker")) - {""}),
            "licence": read_summary(source.index.folder)["licence"],
            "labels_used": labels_used,
        }
        for source in sources
    ]


def git_state(root: Path) -> dict[str, str] | None:
    """Finds the commit of a source tree, and whether it has uncommitted changes.

    Args:
      root: of the tree.

    Returns:
      {"commit"}, with "changes", the SHA-256 of the uncommitted difference, if there is one; None
      without git or a repository.
    """
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    commit = _git(root, "rev-parse", "HEAD")
    difference = _git(root, "diff", "HEAD")
    if commit is None or difference is None:
        return None
    state = {"commit": commit.decode().strip()}
    if difference:
        state["changes"] = hashlib.sha256(difference).hexdigest()
    return state


def _git(root: Path, *words: str) -> bytes | None:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=False)
    return None if done.returncode else done.stdout
