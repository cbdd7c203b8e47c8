"""How every experiment lies on meshes, written down: a lost cut shows as a diff."""

import difflib

import pytest

from tests.golden.shardings_now import chosen, dump, shardings_stored

REFRESH = "python tools/golden.py writes them anew: look at the diff before you commit it"


@pytest.mark.parametrize("name", chosen())
def test_parameters_when_laid_out_then_lie_as_was_stored(name):
    stored = shardings_stored()
    assert name in stored, f"{name} is not stored; {REFRESH}"
    now = dump(*chosen()[name])
    diff = difflib.unified_diff(
        stored[name].splitlines(), now.splitlines(), "stored", "now", lineterm="", n=1
    )
    assert now == stored[name], f"{name} changed; {REFRESH}\n" + "\n".join(diff)


def test_stored_layouts_when_listed_then_each_has_its_experiment():
    assert set(shardings_stored()) == set(chosen()), REFRESH


def test_kernels_of_every_transformer_layer_are_cut_along_both_axes():
    for name in ("base", "large", "xlarge", "base_waveform", "large_waveform", "xlarge_waveform"):
        text = shardings_stored()[f"pretrain/emotion_aware.{name}.txt"]
        mesh = text.partition("mesh data=2 fsdp=2 tensor=2\n")[2].partition("mesh ")[0]
        kernels = [line for line in mesh.splitlines() if "/layers/" in line and "/kernel " in line]
        assert len(kernels) == 6
        assert all("fsdp" in line and "tensor" in line for line in kernels), name
