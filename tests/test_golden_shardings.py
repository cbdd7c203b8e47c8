"""The shardings of every config, as stored: a parameter that is no longer sharded is a diff."""

import difflib

import pytest

from tests.golden.shardings_now import chosen, dump, shardings_stored

REFRESH = "`python tools/golden.py` stores them anew; check the diff before you commit it"


@pytest.mark.parametrize("name", chosen())
def test_parameters_when_sharded_then_equal_what_is_stored(name):
    stored = shardings_stored()
    assert name in stored, f"{name} is not stored; {REFRESH}"
    now = dump(*chosen()[name])
    diff = difflib.unified_diff(
        stored[name].splitlines(), now.splitlines(), "stored", "now", lineterm="", n=1
    )
    assert now == stored[name], f"{name} changed; {REFRESH}\n" + "\n".join(diff)


def test_stored_shardings_when_listed_then_each_has_its_config():
    assert set(shardings_stored()) == set(chosen()), REFRESH


def test_kernels_of_transformer_layers_when_stored_then_are_sharded_along_both_axes():
    for name in ("base", "large", "xlarge", "base_waveform", "large_waveform", "xlarge_waveform"):
        text = shardings_stored()[f"pretrain/emotion_aware.{name}.txt"]
        mesh = text.partition("mesh data=2 fsdp=2 tensor=2\n")[2].partition("mesh ")[0]
        kernels = [line for line in mesh.splitlines() if "/layers/" in line and "/kernel " in line]
        assert len(kernels) == 6
        assert all("fsdp" in line and "tensor" in line for line in kernels), name
