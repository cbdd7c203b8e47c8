"""Writes tests/golden anew: every preset of every experiment, and how its parameters are cut.

`tests/golden/configs` has every setting with its default, `tests/golden/shardings` every parameter
with the mesh axes it is cut along.

Command: python tools/golden.py, then look at `git diff tests/golden`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.golden import configs_now, shardings_now


def main() -> int:
    """Writes what changed, removes what has no experiment, and says both."""
    refresh(configs_now.STORED, configs_now.stored(), configs_now.resolved())
    refresh(
        shardings_now.STORED, shardings_now.shardings_stored(), shardings_now.shardings_resolved()
    )
    return 0


def refresh(folder: Path, before: dict[str, str], now: dict[str, str]) -> None:
    """Makes a folder hold exactly these texts.

    Args:
      folder: of the stored files.
      before: file name to text, as stored.
      now: file name to text, as it should be.
    """
    for name in sorted(before.keys() - now.keys()):
        (folder / name).unlink()
        print(f"removed {name}")
    for name, text in now.items():
        if name in before and before[name] == text:
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        print(f"{'changed' if name in before else 'new'} {name}")
    print(f"{len(now)} files in {folder}")


if __name__ == "__main__":
    sys.exit(main())
