"""The options of `sersl compare` and `sersl sweep`."""

from sersl.cli.verbs import Verbs, add_verb, number


def add_compare(verbs: Verbs) -> None:
    """Adds `sersl compare`."""
    parser = add_verb(verbs, "compare", "compare finished runs with paired intervals")
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="[NAME=]WORKDIR",
        help="finished runs; the first is the reference; a folder with several seeds is one system",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="write the table as Markdown, CSV, LaTeX and JSON, a plot and an HTML page",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        default="",
        help="score whose differences are shown, e.g. uar or ccc.valence; default: the first",
    )
    parser.add_argument(
        "--draws",
        type=number(int, at_least=100, at_most=1_000_000),
        default=1000,
        metavar="N",
        help="draws of the bootstrap over speakers and seeds; default: 1000",
    )
