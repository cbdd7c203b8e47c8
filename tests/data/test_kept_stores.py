"""`sersl doctor --data_dir` lists kept outputs of encoders, and which of them are stale."""

import json

import pytest

from sersl.core.digests import write_digests
from sersl.data.kept_stores import kept_stores


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "mine" / "1.0.0"
    for name, fingerprint in (("good", "abc"), ("old", "xyz"), ("broken", "abc")):
        store = folder / "outputs" / name
        store.mkdir(parents=True)
        (store / "records").write_bytes(bytes(1000))
        (store / "sidecar.json").write_text(json.dumps({"corpus_fingerprint": fingerprint}))
        write_digests(store)
    (folder / "outputs" / "broken" / "records").write_bytes(bytes(999))
    (folder / "outputs" / ".late.partial").mkdir()
    (folder / "prepare.json").write_text(json.dumps({"fingerprint": "abc"}))
    return folder


def test_stores_when_listed_then_stale_ones_say_why_and_how_to_delete_them(corpus, monkeypatch):
    monkeypatch.setattr(
        "sersl.data.kept_stores.read_summary",
        lambda folder: json.loads((folder / "prepare.json").read_text()),
    )
    found = {store.folder.name: store for store in kept_stores(corpus)}
    assert list(found) == [".late.partial", "broken", "good", "old"]
    assert found["good"].reason == "" and found["good"].num_bytes > 1000
    assert found["old"].reason == "made for other records"
    assert found["broken"].reason.startswith("records is damaged")
    assert found[".late.partial"].reason.startswith("unfinished")
    assert found["old"].remove == f"rm -r {corpus}/outputs/old"


def test_stores_when_there_are_none_then_an_empty_list(tmp_path):
    assert kept_stores(tmp_path) == []
