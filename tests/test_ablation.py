"""The ablation: its factorial, its cells on a small corpus, and what its table says of cells."""

import itertools
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from sklearn.metrics import recall_score

from sersl.core.errors import UserError
from tests.tiny_runs import PRETRAIN, prepare_four_voices

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import ablation
    import ablation_table

    yield ablation, ablation_table
    for name in ("ablation", "ablation_table"):
        sys.modules.pop(name, None)


def test_factors_when_laid_out_then_every_part_is_apart_from_others_pairs_and_seeds(tools):
    cells = tools[0].factors()
    parts = sorted({part for parts, _ in cells for part in parts} - {"plain"})
    signs = np.array([[1 if part in own else -1 for part in parts] for own, _ in cells])
    assert len(cells) == 16 and len({own for own, _ in cells}) == 16 and len(parts) == 8
    assert (signs.T @ signs == 16 * np.eye(8)).all()
    for first, second in itertools.combinations(range(8), 2):
        assert (signs.T @ (signs[:, first] * signs[:, second]) == 0).all()
    for seed in range(4):
        block = np.array([number == seed for _, number in cells])
        assert block.sum() == 4 and (signs[block].sum(0) == 0).all()


def test_cells_when_a_part_or_seed_is_wrong_then_say_so(tools):
    assert tools[0].read_cells("masking+prosody:12") == [(("masking", "prosody"), 12)]
    with pytest.raises(UserError, match="did you mean 'prosody'"):
        tools[0].read_cells("prosodi:1")
    with pytest.raises(UserError, match="has no seed"):
        tools[0].read_cells("prosody")


def test_cell_when_run_twice_then_is_made_once_and_holds_the_answers(
    tools, tmp_path, monkeypatch, capsys
):
    prepare_four_voices(tmp_path / "data", monkeypatch)
    output = tmp_path / "runs"
    command = ["ablation.py", "--data_dir", str(tmp_path / "data"), "--output", str(output)]
    command += ["--corpora", "synthetic", "--config", PRETRAIN]
    command += ["--steps", "2", "--probe_per_speaker", "8", "untrained:10", "masking+prosody:10"]
    command += ["--config.masking.span=5"]
    monkeypatch.setattr(sys, "argv", command)
    # Compiles in less than half of the time.
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        assert tools[0].main() == 0
        printed = capsys.readouterr().out
        assert "masking+prosody, seed 10" in printed
        assert tools[0].main() == 0
        assert "seed 10" not in capsys.readouterr().out
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
    cell = json.loads((output / "masking+prosody-10" / "cell.json").read_text())
    assert (cell["steps"], cell["settings"]) == (2, ["masking.span=5"])
    found = cell["corpora"]["synthetic"]
    assert len(found["truth"]) == len(found["predicted"]) == len(found["speaker"]) == 4 * 8
    expected = recall_score(found["truth"], found["predicted"], average="macro")
    assert found["uar"] == pytest.approx(expected)


def write_cell(folder, parts, seed, answers, *, steps=1) -> None:
    """Writes a finished cell with the answers of one corpus."""
    content = {"parts": parts, "seed": seed, "steps": steps, "settings": []}
    folder.mkdir()
    (folder / "cell.json").write_text(json.dumps(content | {"corpora": {"one": answers}}))


def test_table_when_a_part_helps_then_its_interval_is_above_zero_and_others_are_not(
    tools, tmp_path, monkeypatch, capsys
):
    random = np.random.default_rng(0)
    cells = [*tools[0].factors()]
    cells += [((name,), seed) for name in ("plain", "prosody") for seed in (10, 11, 12)]
    for parts, seed in cells:
        folder = tmp_path / f"{'+'.join(parts)}-{seed}"
        truth = np.tile(np.arange(4), 12 * 20)
        right = 0.4 + 0.2 * ("prosody" in parts) + 0.02 * seed / 12
        wrong = (truth + random.integers(1, 4, len(truth))) % 4
        predicted = np.where(random.random(len(truth)) < right, truth, wrong)
        answers = {
            "names": list("abcd"),
            "speaker": np.repeat([f"{i:02}" for i in range(12)], 80).tolist(),
            "truth": truth.tolist(),
            "predicted": predicted.tolist(),
        }
        write_cell(folder, parts, seed, answers)
        uar = recall_score(truth, predicted, average="macro")
        cell = tools[1].Cell(folder / "cell.json")
        assert cell.found == {"one": pytest.approx(uar), "score": pytest.approx(uar)}
        assert cell.draws["one"].mean() == pytest.approx(uar, abs=0.01)
    monkeypatch.setattr(sys, "argv", ["ablation_table.py", "--output", str(tmp_path)])
    assert tools[1].main() == 0
    effects, recipes = capsys.readouterr().out.split("| recipe")
    rows = effects.split("| part")[1].splitlines()[2:]
    assert len(rows) == 9  # eight parts and an empty line
    for line in filter(None, rows):
        name, effect = (text.strip() for text in line.split("|")[1:3])
        value, low, high = (float(x.strip("[],")) for x in effect.split())
        assert low < value < high
        if name == "prosody":
            assert low > 0.1 and value == pytest.approx(0.2, abs=0.04)
        else:
            assert abs(value) < 0.03
    assert "4 degrees of freedom" in effects
    better = next(line for line in recipes.splitlines() if line.startswith("| prosody"))
    assert float(better.split("|")[4].split("[")[1].split(",")[0]) > 0.1


def test_table_when_the_factorial_is_unfinished_then_gives_no_effects(
    tools, tmp_path, monkeypatch, capsys
):
    answers = {"names": ["a", "b"], "speaker": ["1", "2"], "truth": [0, 1], "predicted": [0, 0]}
    for i, (parts, seed) in enumerate(tools[0].factors()[:3]):
        write_cell(tmp_path / str(i), parts, seed, answers)
    monkeypatch.setattr(sys, "argv", ["ablation_table.py", "--output", str(tmp_path)])
    assert tools[1].main() == 0
    printed = capsys.readouterr().out
    assert "do not determine all effects" in printed and "| part" not in printed


def test_table_when_seeds_are_named_then_only_theirs(tools, tmp_path, monkeypatch, capsys):
    answers = {"names": ["a", "b"], "speaker": ["1", "2"], "truth": [0, 1], "predicted": [0, 0]}
    for seed in (10, 20, 21):
        write_cell(tmp_path / str(seed), ["plain"], seed, answers)
    words = ["ablation_table.py", "--output", str(tmp_path), "--seeds", "20", "21"]
    monkeypatch.setattr(sys, "argv", words)
    assert tools[1].main() == 0
    assert "| plain | 20 21 |" in capsys.readouterr().out


def test_table_when_cells_had_other_steps_then_refused(tools, tmp_path, monkeypatch, capsys):
    answers = {"names": ["a", "b"], "speaker": ["1", "2"], "truth": [0, 1], "predicted": [0, 0]}
    for steps in (1, 2):
        write_cell(tmp_path / str(steps), ["plain"], 10, answers, steps=steps)
    monkeypatch.setattr(sys, "argv", ["ablation_table.py", "--output", str(tmp_path)])
    assert tools[1].main() == 2
    assert "differ in steps or settings" in capsys.readouterr().err


def test_over_seeds_when_drawn_then_has_the_variance_of_their_mean(tools):
    values = np.array([0.1, 0.4, 0.2])
    drawn = tools[1].over_seeds(np.tile(values[:, None], (1, 200_000)))
    assert drawn.mean() == pytest.approx(values.mean(), abs=1e-3)
    assert drawn.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.02)
