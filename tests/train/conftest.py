"""A small prepared corpus, and compilation that is quick rather than its result."""

from pathlib import Path

import jax
import pytest

from tests.train.tiny_runs import prepare_four_voices


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    """Four voices of 16 utterances each, prepared and annotated."""
    folder = tmp_path_factory.mktemp("four_voices")
    with pytest.MonkeyPatch.context() as monkeypatch:
        prepare_four_voices(folder, monkeypatch)
    return folder


@pytest.fixture(autouse=True)
def quick_compilation():
    """Compiles in less than half of the time; what is computed stays the same."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
