"""`sersl import`: a Hugging Face speech model to a model folder."""

from collections.abc import Sequence

from sersl.release.huggingface.importing import import_folder


def run(arguments) -> int:
    """Imports a model, and lists what became of its tensors.

    Args:
      arguments: `source`, `output` and `licence`, which may be empty.

    Returns:
      The exit code, 0.

    Raises:
      UserError: the source is incomplete, damaged or not supported; nothing is written.
    """
    report = import_folder(arguments.source, arguments.output, licence=arguments.licence)
    architecture = report.architecture
    names = (*architecture.categories, *architecture.dimensions)
    print(
        f"imported {len(report.used)} tensors, {report.num_parameters:,} parameters: "
        f"{architecture.encoder.num_layers} layers of width {architecture.encoder.width}, "
        f"{'predicts ' + ', '.join(names) if names else 'no heads'}"
    )
    _list("left behind, as no part of the model", report.unused)
    _list("converted to float32", report.converted)
    _list("not in the source, so at its start", report.initial)
    print(f"model written to {arguments.output}")
    return 0


def _list(what: str, names: Sequence[str]) -> None:
    if names:
        print(f"{len(names)} {what}:")
        for name in names:
            print(f"  {name}")
