"""Eight pretend CPU devices for every test, and the real speech where there is any."""

import os
from pathlib import Path

import jax
import pytest

# Read when huggingface_hub is first imported: the only hub of a test is one on localhost.
os.environ["HF_HUB_OFFLINE"] = "1"
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_platforms", "cpu")
# Compiled steps are kept between runs; the key includes the code, so nothing goes stale.
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"


def pytest_collection_modifyitems(config, items):
    """Deselects the tests on real speech where there is none; on CI they must run."""
    if CORPORA.is_dir() or os.environ.get("CI"):
        return
    wanted = [item for item in items if item.get_closest_marker("corpora") is None]
    left_out = [item for item in items if item.get_closest_marker("corpora") is not None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = wanted


def pytest_terminal_summary(terminalreporter):
    """Says that tests were left out for want of real speech; also where processes share them."""
    if not CORPORA.is_dir() and not os.environ.get("CI"):
        terminalreporter.write_line(f"tests on real speech were deselected: {CORPORA} is not there")


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    """Four synthetic speakers of 16 utterances each, prepared and annotated once per process."""
    # Imported here: most tests need no training code.
    from tests.tiny_runs import prepare_four_voices

    folder = tmp_path_factory.mktemp("four_voices")
    with pytest.MonkeyPatch.context() as monkeypatch:
        prepare_four_voices(folder, monkeypatch)
    return folder


@pytest.fixture
def quick_compilation():
    """Compiles in less than half of the time; what is computed stays the same."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def corpora_dir() -> Path:
    """The folder of real speech; a test that asks for it fails where it is missing."""
    if not CORPORA.is_dir():
        pytest.fail(f"real speech expected in {CORPORA}")
    return CORPORA
