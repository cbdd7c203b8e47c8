"""Writes tests/golden/configs anew: every preset of every experiment with every default.

Command: python tools/golden.py, then look at `git diff tests/golden`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.golden.configs_now import STORED, resolved, stored


def main() -> int:
    """Writes what changed, removes what has no experiment, and says both."""
    before, now = stored(), resolved()
    for name in sorted(before.keys() - now.keys()):
        (STORED / name).unlink()
        print(f"removed {name}")
    for name, text in now.items():
        if name in before and before[name] == text:
            continue
        (STORED / name).parent.mkdir(parents=True, exist_ok=True)
        (STORED / name).write_text(text)
        print(f"{'changed' if name in before else 'new'} {name}")
    print(f"{len(now)} configs in {STORED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
