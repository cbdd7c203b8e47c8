"""Stores the settings of every preset and the shardings of its parameters in tests/golden.

`tests/golden/configs/defaults` holds every setting with its default, the other files of
`tests/golden/configs` what a preset changes, and `tests/golden/shardings` every parameter with the
mesh axes that shard it.

Command: python tools/golden.py, then check `git diff tests/golden`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.golden import configs_now, shardings_now


def main() -> int:
    """Stores what changed, removes files without a config, and prints both."""
    refresh(configs_now.STORED, configs_now.stored(), configs_now.resolved())
    refresh(
        shardings_now.STORED, shardings_now.shardings_stored(), shardings_now.shardings_resolved()
    )
    return 0


def refresh(folder: Path, before: dict[str, str], now: dict[str, str]) -> None:
    """Makes a folder hold exactly the texts of `now`, by file name; `before` are the old ones."""
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
