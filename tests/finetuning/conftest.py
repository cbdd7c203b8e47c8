"""Compilation that is quick rather than its result, for the small runs of these tests."""

import shutil

import pytest


@pytest.fixture(autouse=True)
def _quick(quick_compilation):
    """Compiles quickly everywhere in this folder."""


@pytest.fixture
def own_data(data_dir, tmp_path):
    """A copy of the small corpus, since outputs are kept beside it."""
    shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("outputs"))
    return tmp_path / "data"
