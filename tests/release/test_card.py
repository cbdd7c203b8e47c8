from sersl.release.huggingface.importing import import_folder
from tests.release.fake_source import write_source


def test_card_when_the_model_was_imported_then_it_says_from_where_and_nothing_it_cannot_know(
    tmp_path,
):
    source = write_source(tmp_path / "wav2vec2-tiny")
    import_folder(source, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "from the Hugging Face model `wav2vec2-tiny`" in card
    assert "loudness has no effect" in card and "datasets:" not in card
    assert "only the terms of the model it was imported from are known" in " ".join(card.split())
    assert "| corpus |" not in card
    import_folder(source, tmp_path / "model", licence="Apache-2.0")
    assert "license: apache-2.0\n" in (tmp_path / "model" / "README.md").read_text()
