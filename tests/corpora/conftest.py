"""Tiny audio and prepared corpora for the tests of this room.

Tests of Apache Beam are deselected, with a line, where its environment is not there; not on CI.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

BEAM_PYTHON = Path(__file__).parents[2] / ".venv" / "beam" / "bin" / "python"


def pytest_collection_modifyitems(config, items):
    if os.environ.get("CI") or BEAM_PYTHON.is_file():
        return
    left_out = [item for item in items if item.get_closest_marker("beam")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter):
    if not os.environ.get("CI") and not BEAM_PYTHON.is_file():
        terminalreporter.write_line(
            f"tests on Apache Beam were deselected: {BEAM_PYTHON} is not there "
            "(./tools/test.sh slow makes it)"
        )


def write_tone(path: Path, *, seconds: float = 0.3, rate: int = 16_000, hertz: float = 220.0):
    """Writes a tone; the extension decides the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * time), rate)


@pytest.fixture
def tone():
    return write_tone


@pytest.fixture
def make_manifest(tmp_path):
    """Writes tones and a manifest with one row each; gives the manifest's path."""

    def make(rows: list[dict], *, name: str = "own.csv") -> Path:
        for number, row in enumerate(rows):
            if not (tmp_path / row["path"]).exists():
                write_tone(tmp_path / row["path"], hertz=200.0 + 10 * number)
        columns = list(rows[0])
        lines = [",".join(columns)] + [",".join(str(row[c]) for c in columns) for row in rows]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return make


@pytest.fixture
def arguments():
    """What the command line gives `sersl prepare`."""

    def make(**given):
        absent = dict.fromkeys(
            ("corpus", "audio_dir", "manifest", "name", "format", "columns", "scale", "parts")
        )
        absent["licence"] = None
        names = ("download", "overwrite", "allow_unexpected_count", "allow_outside_paths")
        switches = dict.fromkeys(names, False)
        sharing = {"processes": 1, "shard": None, "beam_pipeline_options": None}
        return argparse.Namespace(**(absent | switches | sharing | given))

    return make
