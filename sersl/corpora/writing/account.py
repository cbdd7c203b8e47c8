"""The summary of a prepared corpus, `prepare.json`: counts, and what was left out and why."""

import collections
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from sersl.corpora.index import CorpusIndex
from sersl.corpora.writing.builder import Builder


def summarize(builder: Builder, folder: Path, *, source: str, given: dict[str, str]) -> dict:
    """Sums up a freshly written corpus.

    Args:
      builder: that wrote it.
      folder: with its index.
      source: fingerprint of what it was prepared from.
      given: arguments of `sersl.corpora.prepare.prepare` that name it.

    Returns:
      For JSON.
    """
    return _account(builder, source) | {"source": given} | _contents(builder, folder)


def _account(builder: Builder, source: str) -> dict[str, Any]:
    account, about = builder.account, builder.about
    expected, differences = builder.expected_utterances(), []
    if expected not in (None, account.num_utterances):
        differences.append(
            f"{account.num_utterances} utterances, the published corpus has {expected}"
        )
    return {
        "schema": 1,
        "corpus": builder.name,
        "version": str(builder.version),
        "fingerprint": account.fingerprint,
        "source_fingerprint": source,
        "num_utterances": account.num_utterances,
        "expected_utterances": expected,
        "differences": differences,
        "skipped": [dataclasses.asdict(item) for item in account.skipped],
        "left_out": [dataclasses.asdict(item) for item in account.left_out],
        "silent": account.silent,
        "short": account.short,
        "notes": list(account.notes),
        "licence": about.licence,
        "citation": about.citation,
        "homepage": about.homepage,
    }


def _contents(builder: Builder, folder: Path) -> dict[str, Any]:
    account = builder.account
    index = CorpusIndex(
        corpus=builder.name,
        version=str(builder.version),
        folder=folder,
        fingerprint=account.fingerprint,
        num_utterances=account.num_utterances,
    )
    by_audio = collections.defaultdict(list)
    for utterance_id, sha256 in zip(
        index.column("utterance_id").tolist(), index.column("sha256").tolist(), strict=True
    ):
        by_audio[sha256].append(utterance_id)
    speakers = set(index.column("speaker").tolist()) - {""}
    return {
        "hours": round(float(index.column("duration").sum()) / 3600, 6),
        "num_speakers": len(speakers),
        "categories": _count(index.column("category")),
        "genders": _count(index.column("gender")),
        "languages": _count(index.column("language")),
        "identical_audio": [ids for ids in by_audio.values() if len(ids) > 1],
    }


def _count(values: np.ndarray) -> dict[str, int]:
    counts = collections.Counter(values.tolist())
    return {value: counts[value] for value in sorted(counts)}
