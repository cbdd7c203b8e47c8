"""Tables of the cells of `tools/ablation.py`: effects of parts, and comparisons of recipes.

    python tools/ablation_table.py --output runs/ablation --reference plain --seeds 10 11 12

Cells with seeds 0 to 3 are the factorial: a regression of the score on the parts, with a constant
per seed, estimates the effect of each part. An interval adds the variance over test speakers
(bootstrap over the speakers of a corpus) to that over runs (residuals of the regression), with
Student's t of the degrees of freedom of the residuals. Cells with other seeds are recipes: mean and
sample standard deviation over seeds, and the paired difference to the reference on the same seeds.
Its interval is the 95 % percentile interval over joint draws of speakers and seeds; each draw has
one seed fewer than there are, because otherwise the variance over few seeds would be too small.
"score" is the mean of the corpora.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import t

from sersl.core.seeds import generator

NUM_DRAWS = 2000
LEVEL = 0.95
FACTORIAL_SEEDS = range(4)
PLAIN = "plain"


def main() -> int:
    """Prints the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--reference", default=PLAIN, help="recipe to compare with")
    parser.add_argument("--seeds", nargs="+", type=int, help="of the cells; default: all")
    arguments = parser.parse_args()
    cells = [Cell(file) for file in sorted(arguments.output.glob("*/cell.json"))]
    if arguments.seeds is not None:
        cells = [cell for cell in cells if cell.seed in arguments.seeds]
    if not cells:
        print(f"error: {arguments.output} has no finished cell", file=sys.stderr)
        return 2
    if len({cell.budget for cell in cells}) > 1:
        print(f"error: cells in {arguments.output} differ in steps or settings", file=sys.stderr)
        return 2
    columns = list(cells[0].draws)
    factorial = [cell for cell in cells if cell.seed in FACTORIAL_SEEDS]
    print_cells(cells, columns)
    if len(factorial) > 1:
        print_effects(factorial, columns)
    print_recipes([c for c in cells if c.seed not in FACTORIAL_SEEDS], columns, arguments.reference)
    return 0


class Cell:
    """One recipe and seed.

    Attributes:
      parts: of the recipe.
      seed: of the run.
      budget: steps and settings, which must be the same in all cells.
      found: UAR by corpus, and "score".
      draws: the same as UAR [NUM_DRAWS] over speakers drawn with replacement, the same ones for
        every cell.
    """

    def __init__(self, file: Path):
        """Reads a cell and draws."""
        content = json.loads(file.read_text())
        self.parts, self.seed = tuple(content["parts"]), content["seed"]
        self.recipe = "+".join(self.parts)
        self.budget = content["steps"], *content["settings"]
        self.found, self.draws = {}, {}
        for corpus, answers in content["corpora"].items():
            counts = confusion_by_speaker(answers)
            drawn = generator(0, f"speakers of {corpus}").multinomial(
                len(counts), np.full(len(counts), 1 / len(counts)), NUM_DRAWS
            )
            self.found[corpus] = float(uar_of(counts.sum(0)))
            self.draws[corpus] = uar_of(np.tensordot(drawn, counts, 1))
        self.found["score"] = float(np.mean(list(self.found.values())))
        self.draws["score"] = np.mean(list(self.draws.values()), axis=0)


def confusion_by_speaker(answers: dict) -> np.ndarray:
    """Counts truth against prediction of each speaker: int64 [S, C, C]."""
    speakers, who = np.unique(answers["speaker"], return_inverse=True)
    counts = np.zeros((len(speakers), len(answers["names"]), len(answers["names"])), np.int64)
    np.add.at(counts, (who, np.array(answers["truth"]), np.array(answers["predicted"])), 1)
    return counts


def uar_of(confusion: np.ndarray) -> np.ndarray:
    """Computes the mean recall over the categories that occur, [..., C, C] to [...]."""
    total = confusion.sum(-1)
    found = np.diagonal(confusion, axis1=-2, axis2=-1) / np.maximum(total, 1)
    return found.sum(-1) / (total > 0).sum(-1)


def print_cells(cells, columns) -> None:
    """Prints every cell."""
    print("| cell | seed | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 2) + "|")
    for cell in sorted(cells, key=lambda cell: (cell.seed, -cell.found["score"])):
        numbers = " | ".join(f"{cell.found[column]:.4f}" for column in columns)
        print(f"| {cell.recipe} | {cell.seed} | {numbers} |")


def print_effects(cells, columns) -> None:
    """Prints the effect of each part, with its interval."""
    parts = sorted({part for cell in cells for part in cell.parts} - {PLAIN})
    seeds = sorted({cell.seed for cell in cells})
    design = np.array(
        [
            [*((part in cell.parts) - 0.5 for part in parts), *(cell.seed == s for s in seeds)]
            for cell in cells
        ],
        float,
    )
    if np.linalg.matrix_rank(design) < design.shape[1]:
        print(
            f"\nThe {len(cells)} finished cells of the factorial do not determine all effects yet."
        )
        return
    solve = np.linalg.pinv(design)
    free = len(cells) - design.shape[1]
    lines = {part: [] for part in parts}
    spreads = []
    for column in columns:
        scores = np.array([cell.found[column] for cell in cells])
        effects = solve @ scores
        speakers = (solve @ np.array([cell.draws[column] for cell in cells])).std(1, ddof=1)
        left = scores - design @ effects
        run = np.sqrt((left @ left) / free) if free else np.nan
        spreads.append(f"{column} {run:.4f}")
        # Standard deviation of an effect over runs; its row of the solution weights the runs.
        runs = run * np.sqrt(np.square(solve).sum(1))
        reach = t.ppf(0.5 + LEVEL / 2, free) * np.sqrt(runs**2 + speakers**2) if free else runs
        for i, part in enumerate(parts):
            low, high = effects[i] - reach[i], effects[i] + reach[i]
            lines[part].append(f"{effects[i]:+.4f} [{low:+.4f}, {high:+.4f}]")
    print(f"\nEffects: {len(cells)} cells, {free} degrees of freedom.")
    print(f"Standard deviation of a single run: {', '.join(spreads)}.\n")
    print("| part | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for part, numbers in lines.items():
        print(f"| {part} | " + " | ".join(numbers) + " |")


def print_recipes(cells, columns, reference: str) -> None:
    """Prints the recipes and their paired differences to the reference."""
    recipes = {}
    for cell in cells:
        recipes.setdefault(cell.recipe, {})[cell.seed] = cell
    head = " | ".join(f"{column} | minus {reference}" for column in columns)
    print(f"\n| recipe | seeds | {head} |")
    print("|---" * (2 * len(columns) + 2) + "|")
    for recipe, runs in sorted(recipes.items(), key=lambda both: -mean_score(both[1])):
        shared = sorted(set(runs) & set(recipes.get(reference, {})))
        numbers = []
        for column in columns:
            found = np.array([cell.found[column] for cell in runs.values()])
            spread = f"{found.std(ddof=1):.4f}" if len(found) > 1 else "-"
            numbers.append(f"{found.mean():.4f} ± {spread}")
            if recipe == reference or not shared:
                numbers.append("")
                continue
            pairs = [(runs[seed], recipes[reference][seed]) for seed in shared]
            difference = np.mean([one.found[column] - two.found[column] for one, two in pairs])
            draws = np.array([one.draws[column] - two.draws[column] for one, two in pairs])
            low, high = np.quantile(over_seeds(draws), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            numbers.append(f"{difference:+.4f} [{low:+.4f}, {high:+.4f}]")
        seeds = " ".join(map(str, sorted(runs)))
        print(f"| {recipe} | {seeds} | " + " | ".join(numbers) + " |")


def mean_score(runs: dict) -> float:
    """Averages the score over seeds."""
    return float(np.mean([cell.found["score"] for cell in runs.values()]))


def over_seeds(draws: np.ndarray) -> np.ndarray:
    """Averages draws over seeds that are drawn too: [seeds, NUM_DRAWS] to [NUM_DRAWS]."""
    number = len(draws)
    chosen = generator(0, "seeds").integers(0, number, (max(number - 1, 1), draws.shape[1]))
    # With one draw fewer than seeds, the variance is that of a mean over the seeds.
    return np.take_along_axis(draws, chosen, axis=0).mean(0)


if __name__ == "__main__":
    sys.exit(main())
