"""A hub on localhost, and empty caches."""

import huggingface_hub
import pytest
from huggingface_hub import constants

from tests.release.hub.small_hub import small_hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A running hub, which huggingface_hub of this process uses with a cache of its own."""
    with small_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        huggingface_hub.close_session()
        yield running
        huggingface_hub.close_session()
