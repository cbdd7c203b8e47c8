"""The diffs of docs/extending.md apply to the package, touch few files, and what they add runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
MOST_FILES = 3
SECTIONS = {
    title: (diff, code)
    for title, diff, code in re.findall(
        r"^## (An? [^\n]+)\n(?:(?!^## ).)*?"
        r"^```diff\n(.*?)^```$(?:(?!^## ).)*?^```python\n(.*?)^```$",
        PAGE,
        re.MULTILINE | re.DOTALL,
    )
}
EXPECTED = {
    "An objective": r"slowness \d\.\d{3}",
    "A corpus": r"4 utterances of \['anna', 'ben'\]",
    "A pooling": r"vectors \(4, 16\) per frame \(4, 60, 16\)",
    "A head": r"scores \(2, 4\)",
    "An encoder": r"hidden states \(3, 1, 50, 16\)",
    "A frontend": r"features \(1, 50, 400\) hidden states \(3, 1, 50, 16\)",
}


def apply(diff: str, root: Path) -> list[str]:
    """Applies a diff whose hunks are found by their text alone; gives the changed files."""
    changed = []
    for file in re.split(r"^(?=--- )", diff, flags=re.MULTILINE)[1:]:
        old, new, *hunks = re.split(r"^(?:--- (?:a/)?|\+\+\+ b/|@@$)", file, flags=re.MULTILINE)[1:]
        path = root / new.strip()
        text = "" if old.strip() == "/dev/null" else path.read_text()
        assert path.exists() == bool(text), f"{path} exists, or is missing"
        for hunk in hunks:
            lines = hunk.strip("\n").split("\n")
            before = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
            after = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
            assert text.count(before) == 1 or not text, f"not once in {path}:\n{before}"
            text = text.replace(before, after) if text else after
        path.write_text(text)
        changed.append(new.strip())
    return changed


@pytest.fixture
def copy(tmp_path):
    """Copies the package and the configs."""
    for name in ("sersl", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_page_when_read_then_shows_each_kind_of_extension():
    assert set(SECTIONS) == set(EXPECTED)


@pytest.mark.parametrize("title", EXPECTED)
def test_extension_when_its_diff_is_applied_then_it_runs(title, copy):
    diff, code = SECTIONS[title]
    changed = apply(diff, copy)
    assert len(changed) <= MOST_FILES
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["check", "-q"], ["format", "-q", "--check"]):
        subprocess.run(
            [ruff, *command, "--config", ROOT / "pyproject.toml", *changed], cwd=copy, check=True
        )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert re.search(EXPECTED[title], answer.stdout), answer.stdout
