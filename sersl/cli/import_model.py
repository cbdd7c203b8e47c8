"""`sersl import`: a Hugging Face speech model to a model folder."""

from argparse import Namespace
from collections.abc import Sequence

from sersl.core.display import one_line
from sersl.release.hub.finding import find_source
from sersl.release.huggingface.importing import import_folder


def run(arguments: Namespace) -> int:
    """Imports a model, and lists tensors that were left out, converted or missing.

    Args:
      arguments: `source`, a folder or a name, `output`, `licence`, which may be empty,
        `exact_window`, and `layers` to keep or None.

    Returns:
      The exit code, 0.

    Raises:
      UserError: the source is incomplete, damaged or not supported; nothing is written.
    """
    source, name = find_source(arguments.source)
    report = import_folder(
        source,
        arguments.output,
        licence=arguments.licence,
        exact_window=arguments.exact_window,
        layers=arguments.layers,
        source_name=name,
    )
    architecture = report.architecture
    names = (*architecture.categories, *architecture.dimensions)
    print(
        f"imported {len(report.used)} tensors, {report.num_parameters:,} parameters: "
        f"{architecture.encoder.num_layers} layers of width {architecture.encoder.width}, "
        f"{'predicts ' + one_line(', '.join(names)) if names else 'no heads'}"
    )
    _list("left out, as they are not part of the model", report.unused)
    _list("converted to float32", report.converted)
    _list("not in the source, so with initial values", report.initial)
    print(f"model written to {one_line(arguments.output)}")
    return 0


def _list(what: str, names: Sequence[str]) -> None:
    if names:
        print(f"{len(names)} {what}:")
        for name in names:
            print(f"  {one_line(name)}")
