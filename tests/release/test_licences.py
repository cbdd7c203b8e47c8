"""A release needs a licence, and one that the training data allow."""

import json

import pytest

from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.release.licences import check_release, hub_licence, restricted, stated_licence
from tests.release import fake_model

RAVDESS = {"corpus": "ravdess", "licence": "CC BY-NC-SA 4.0"}
SYNTHETIC = {"corpus": "synthetic", "licence": "Apache-2.0"}
OWN = {"corpus": "mine", "licence": ""}


@pytest.mark.parametrize(
    ("licence", "tag"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"),
        ("CC-BY-4.0", "cc-by-4.0"),
        ("CC0", "cc0-1.0"),
        ("our terms", "other"),
        ("", "other"),
    ],
)
def test_hub_licence_when_spelt_in_any_way_then_the_hubs_name(licence, tag):
    assert hub_licence(licence) == tag


def test_restricted_when_terms_forbid_commercial_use_then_named_once():
    signed = {"corpus": "iemocap", "licence": "IEMOCAP licence: research, signed"}
    found = restricted([RAVDESS, SYNTHETIC, OWN, signed, RAVDESS])
    assert found == [
        "iemocap (IEMOCAP licence: research, signed)",
        "ravdess (CC BY-NC-SA 4.0)",
    ]


def test_release_when_the_licence_is_missing_or_allows_too_much_then_a_sentence():
    with pytest.raises(UserError, match=r"ravdess \(CC BY-NC-SA 4.0\).*no commercial use"):
        check_release("", [RAVDESS, SYNTHETIC])
    with pytest.raises(UserError, match=r"mine \(licence not stated\): give --licence NAME"):
        check_release(" ", [OWN])
    for licence in ("MIT", "apache-2.0", "CC BY 4.0"):
        with pytest.raises(UserError, match="allows commercial use, and the training data do not"):
            check_release(licence, [RAVDESS])
        check_release(licence, [SYNTHETIC, OWN])
    for licence in ("CC BY-NC-SA 4.0", "cc-by-nc-4.0", "our own terms"):
        check_release(licence, [RAVDESS])


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: cc-by-4.0\n---\n# A", "cc-by-4.0"),
        ("---\r\nlicense: other\r\nlicense_name: mine\r\n---\r\n", "mine"),
        ("---\nlicense: [mit]\n---\n", ""),
        ("---\n{: broken\n---\n", ""),
        ("# A card without a header", ""),
    ],
)
def test_stated_licence_when_a_card_has_a_header_then_read(tmp_path, text, licence):
    assert stated_licence(tmp_path) == ""
    (tmp_path / "README.md").write_bytes(text.encode())
    assert stated_licence(tmp_path) == licence


def test_export_when_a_model_folder_has_no_licence_then_needs_one_and_the_card_states_it(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(fake_model, "CORPORA", [{**fake_model.CORPORA[0], **RAVDESS}])
    model = fake_model.write_fake(tmp_path / "model", licence="")
    words = ["export", "--workdir", str(model), "--output", str(tmp_path / "copy")]
    assert main(words) == 2
    assert "ravdess (CC BY-NC-SA 4.0)" in capsys.readouterr().err
    assert main([*words, "--licence", "MIT"]) == 2
    assert "allows commercial use" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()
    assert main([*words, "--licence", "CC-BY-NC-SA-4.0"]) == 0
    about = json.loads((tmp_path / "copy" / "sersl.json").read_text())
    card = (tmp_path / "copy" / "README.md").read_text()
    assert about["licence"] == "CC-BY-NC-SA-4.0"
    assert "license: cc-by-nc-sa-4.0" in card
    assert "**No commercial use**: the terms of ravdess (CC BY-NC-SA 4.0) do not allow it" in card
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("model", "copy")]
    assert weights[0] == weights[1]
