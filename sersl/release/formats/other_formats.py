"""Other formats of a released model beside its weights: ONNX, int8, Triton, StableHLO."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sersl.core.errors import UserError
from sersl.release.file_names import CARD, ONNX_FOLDER, STABLEHLO_FOLDER, TRITON_FOLDER
from sersl.release.folder import read_model
from sersl.release.formats.stablehlo import check_serialization, write_stablehlo
from sersl.release.onnx.exporting import FILE, write_onnx
from sersl.release.onnx.graph import Graph
from sersl.release.onnx.quantizing import INT8_FILE, runtime, write_int8
from sersl.release.onnx.triton import write_triton
from sersl.release.rewriting import rewrite

_HEADING = "\n## Other formats\n"


@dataclass(frozen=True, kw_only=True)
class Formats:
    """What to write beside the weights, and how to change the folder.

    Attributes:
      onnx: a graph in ONNX.
      int8: a graph in ONNX with int8 weights.
      triton: a repository for Triton.
      stablehlo: programs in StableHLO.
      int8_weights: keep the kernels of the encoder in int8.
      notes: Markdown for the card; "" for none.
      name: of the model.
    """

    onnx: bool = False
    int8: bool = False
    triton: bool = False
    stablehlo: bool = False
    int8_weights: bool = False
    notes: str = ""
    name: str = "model"

    @property
    def any(self) -> bool:
        """Whether there is anything to write."""
        changed = self.int8_weights or bool(self.notes)
        return changed or self.onnx or self.int8 or self.triton or self.stablehlo

    def check(self) -> None:
        """Raises UserError if a package that a format needs is missing."""
        if self.onnx or self.int8 or self.triton:
            Graph()
        if self.int8 or self.triton:
            runtime()
        if self.stablehlo:
            check_serialization()

    def add(self, folder: Path) -> None:
        """Changes a complete model folder and writes the formats, with a section of its card.

        Args:
          folder: of the model.

        Raises:
          UserError: a part of the model has no such format.
        """
        if self.onnx or self.int8 or self.triton or self.stablehlo:
            _check_one_recording(folder)
        if self.int8_weights or self.notes:
            rewrite(folder, name=self.name, int8=self.int8_weights, notes=self.notes)
        released = read_model(folder)
        lines = []
        if self.onnx or self.int8 or self.triton:
            graph = write_onnx(released, folder / ONNX_FOLDER)
        if self.triton:
            model = write_triton(graph, folder / TRITON_FOLDER, name=self.name)
            lines.append(f"- `{TRITON_FOLDER}/`: repository for Triton, model `{model.name}`.")
        if self.int8:
            lines.append(f"- `{ONNX_FOLDER}/{INT8_FILE}`: {_described(write_int8(graph.parent))}")
        if self.onnx:
            lines.insert(0, f"- `{ONNX_FOLDER}/{FILE}`: waveform in, scores out, float32.")
        elif self.int8:
            graph.unlink()
            graph.with_name(f"{FILE}.data").unlink(missing_ok=True)
        elif self.triton:
            shutil.rmtree(folder / ONNX_FOLDER)
        if self.stablehlo:
            write_stablehlo(released, folder / STABLEHLO_FOLDER)
            lines.append(f"- `{STABLEHLO_FOLDER}/`: programs for `jax.export`, without sersl.")
        remove_section(folder / CARD)
        if not lines:
            return
        with (folder / CARD).open("a", encoding="utf-8", newline="") as card:
            card.write(f"{_HEADING}\n" + "\n".join(lines) + "\n")


def _check_one_recording(folder: Path) -> None:
    if read_model(folder, verify_weights=False).average_speeds:
        raise UserError(
            "the model averages its answers over copies at other speeds, and a graph or program "
            "scores one recording: leave --onnx, --int8, --triton and --stablehlo out, or train "
            "with views.average=False"
        )


def remove_section(card: Path) -> None:
    """Removes the section that `Formats.add` wrote from a card."""
    content = card.read_bytes()
    kept = content.partition(_HEADING.encode())[0]
    if len(kept) < len(content):
        card.write_bytes(kept)


def _described(report: dict[str, Any]) -> str:
    unchanged = report["category_unchanged"]
    text = f"int8 weights, {report['bytes'] / report['float32_bytes']:.0%} of the size in float32. "
    text += f"On {report['utterances']} synthetic utterances "
    if unchanged is not None:
        text += f"the category is the same for {unchanged}, and "
    largest = ", ".join(
        f"{name} {value:.2g}" for name, value in report["largest_difference"].items()
    )
    return f"{text}outputs differ from float32 by at most: {largest}."
