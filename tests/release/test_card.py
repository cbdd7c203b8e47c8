import ast
import os
import re
import shlex

import pytest
import yaml

from sersl.release.card import render
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


ODD = [
    "a|b",
    "<script>alert(1)</script>",
    "`rm -rf`",
    "line\n# Heading\n\n---\nlicense: mit",
    "[link](http://x)",
    "**bold**",
    "\x1b[31mred",
    "\u202eright to left",
    os.fsdecode(b"caf\xe9"),
    "{{ 7 * 7 }}",
]


def card_of(text):
    """A card in which every text that comes from outside is the same."""
    corpus = {"corpus": text, "version": text, "licence": text, "num_utterances": 3}
    metrics = {"confusion": [[1]], "uar": 0.5, "accuracy": 0.5, "macro_f1": None}
    about = {
        "heads": {"kind": "gelu"},
        "sersl": "0.1.0",
        "name": text,
        "licence": text,
        "categories": ["happy", text],
        "dimensions": ["arousal"],
        "scale": {"low": 0.0, "high": 1.0},
        "sample_rate": 16_000,
        "frontend": {"kind": "log_mel", "normalize": "fixed"},
        "init_from": text,
        "imported": None,
        "corpora": [{**corpus, "fingerprint": text}],
        "origin": [{**corpus, "by": text, "labels_used": True, "fingerprint": text}],
        "results": {
            "metrics": {**metrics, "ccc": {}},
            "confidence": {"uar": [0.4, 0.6], "accuracy": None, "macro_f1": None},
            "baseline": {text: metrics},
            "corpus": {"name": text, "num_utterances": 3, "num_speakers": 2},
            "protocol": {"name": text},
        },
    }
    return render(about, name=text, num_parameters=7)


@pytest.mark.parametrize("text", ODD)
def test_card_when_names_are_odd_then_its_structure_is_that_of_plain_names(text):
    plain, card = card_of("plain"), card_of(text)
    card.encode()
    assert all(c.isprintable() for line in card.splitlines() for c in line)
    assert len(card.splitlines()) == len(plain.splitlines())
    bodies = (text.split("---\n", 2)[2].splitlines() for text in (card, plain))
    for line, expected in zip(*bodies, strict=True):
        # Bars that are not escaped divide cells; marks that are not escaped begin something.
        if expected.startswith("|"):
            assert line.replace("\\|", "").count("|") == expected.count("|")
        for mark in ("#", "- ", "```", "---", "|"):
            assert line.startswith(mark) == expected.startswith(mark), line
    prose = re.sub(r"```.*?```|`[^`]*`", "", card.split("---\n", 2)[2], flags=re.DOTALL)
    assert not re.search(r"(?<!\\)[<\[*](?!\d)", prose)
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["library_name"] == "sersl" and header["license"] == "other"
    assert (header["license_name"], header["datasets"]) == (text, [text])


def test_card_when_names_are_odd_then_its_commands_and_code_name_the_folder():
    card = card_of("it's `my` model")
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    call = next(node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant))
    assert call.value == "it's `my` model"
    command = re.search(r"```bash\n(.*?)```", card, re.DOTALL)[1]
    assert shlex.split(command)[:4] == ["sersl", "predict", "--model", "it's `my` model"]
