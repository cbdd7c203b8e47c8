"""The report of a run: figures, and one HTML page that needs no other file and no network."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from sersl.core.display import one_line
from sersl.core.errors import UserError
from sersl.core.files import whole_file
from sersl.eval import metrics, page
from sersl.eval.analysis.embedding_map import principal_components, read_embeddings
from sersl.eval.analysis.training_logs import read_logs
from sersl.eval.confidence import bins_of, reliability_of, worst_mistakes
from sersl.eval.figures import diagrams, plots
from sersl.eval.layer_weights import read_layer_weights
from sersl.eval.over_seeds import SEEDS, aligned_predictions, pooled_predictions
from sersl.eval.predictions import Predictions, read_predictions, speakers_of
from sersl.eval.report_sections import comparison_table, section_tables
from sersl.eval.report_tables import page_tables, plain
from sersl.eval.workdir_files import PREDICTIONS, read_json, read_results

_PIXELS_PER_INCH = 96  # of CSS, at which the text of a figure is as large as that of the page

# Given a corpus and an utterance_id, the bytes of a FLAC file.
Recording = Callable[[str, str], bytes]


def write_report(
    workdir: str | Path,
    *,
    recording: Recording | None = None,
    compared: Sequence[str] = (),
) -> Path:
    """Draws `plots/*.png` and writes `report.html` from a scored run.

    Args:
      workdir: with results.json (see `sersl.eval.results.score_workdir`), predictions.csv and
        config.json.
      recording: reads the recordings of mistakes, which are embedded; None embeds none.
      compared: workdirs of other runs on the same test utterances, DIR or NAME=DIR each.

    Returns:
      The path of the page.

    Raises:
      UserError: a file is missing or damaged, or a run cannot be compared.
    """
    workdir = Path(workdir)
    results = read_results(workdir)
    config = read_json(workdir / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("name"), str):
        raise UserError(f"{workdir / 'config.json'} has no 'name': restore it from a copy")
    if seeds := results.get("seeds"):
        folders = [workdir / SEEDS / str(seed) for seed in seeds]
        predictions = pooled_predictions(aligned_predictions(folders))
    else:
        predictions = read_predictions(workdir / PREDICTIONS)
    logs = read_logs(workdir, results)
    comparison = comparison_table(workdir, compared) if compared else {}
    figures = _draw(workdir / "plots", results, predictions, logs)
    _draw_sections(workdir, figures, results, predictions)
    layers = None if seeds else read_layer_weights(workdir, list(logs))
    if layers:
        figures["layers"] = workdir / "plots" / "layers.png"
        diagrams.layers(figures["layers"], weights=layers)
    # Names come from outside: markup is escaped, and control characters are made visible.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, finalize=_visible
    )

    def figure(name: str, description: str) -> Markup:
        if name not in figures:
            return Markup()
        content = figures[name].read_bytes()
        width = round(int.from_bytes(content[16:20]) / plots.DPI * _PIXELS_PER_INCH)
        image = '<img alt="{}" width="{}" src="data:image/png;base64,{}">'
        return Markup(image).format(description, width, base64.b64encode(content).decode())

    text = environment.from_string(page.TEMPLATE).render(
        style=Markup(page.STYLE),
        title=config["name"],
        figure=figure,
        figures=figures,
        no_curves=[name for name, log in logs.items() if not log],
        comparison=comparison,
        speaker_note=_speaker_note(predictions) if "speakers" in figures else "",
        mistakes=_mistakes(predictions, recording) if "confusion" in figures else [],
        listen=recording is not None,
        config_rows=[(name, plain(value)) for name, value in _flat(config)],
        speakers=speakers_of(results["corpus"]["num_speakers"]),
        **{"seeds": (), **results},
        **page_tables(results),
        **section_tables(results),
    )
    path = workdir / "report.html"
    with whole_file(path) as file:
        file.write(text)
    return path


def _draw(
    folder: Path,
    results: Mapping[str, Any],
    predictions: Predictions,
    logs: Mapping[str, Sequence[Mapping]],
) -> dict[str, Path]:
    figures: dict[str, Path] = {}

    def target(name: str) -> Path:
        figures[name] = folder / f"{name}.png"
        return figures[name]

    scores = results["metrics"]
    if "confusion" in scores:
        counts = np.array(scores["confusion"]["counts"])
        plots.confusion(target("confusion"), names=scores["confusion"]["names"], counts=counts)
        names, values = _uar_by_speaker(predictions)
        if names:
            plots.speakers(
                target("speakers"),
                names=names,
                uar=values,
                overall=scores["uar"],
                chance=results["baseline"]["chance"]["uar"],
            )
        diagrams.reliability(target("reliability"), bins=reliability_of(predictions))
    if predictions.predicted is not None and scores["num_with_dimensions"]:
        columns = [predictions.rated.index(name) for name in predictions.dimensions]
        plots.dimensions(
            target("dimensions"),
            names=predictions.dimensions,
            truth=predictions.truth[:, columns],
            predicted=predictions.predicted[:, columns],
        )
    if any(logs.values()):
        kept = {name: log for name, log in logs.items() if log}
        plots.training(target("training"), logs=kept, of="seed" if results.get("seeds") else "fold")
    return figures


def _draw_sections(
    workdir: Path, figures: dict[str, Path], results: Mapping[str, Any], predictions: Predictions
) -> None:
    """Draws what only some results have: temperature, robustness, embeddings."""
    folder = workdir / "plots"
    after = (results.get("calibration") or {}).get("with_temperature")
    if after and "confusion" in results["metrics"]:
        figures["reliability_temperature"] = folder / "reliability_temperature.png"
        diagrams.reliability(figures["reliability_temperature"], bins=bins_of(after))
    if results.get("robustness"):
        figures["robustness"] = folder / "robustness.png"
        diagrams.robustness(figures["robustness"], conditions=results["robustness"]["conditions"])
    vectors = read_embeddings(workdir, predictions.text["utterance_id"])
    if vectors is not None and len(vectors) > 2:
        places, shares = principal_components(vectors)
        text = predictions.text
        speakers = len(set(text["speaker"].tolist())) <= len(plots.FOLD_COLOURS)
        by = "speaker" if speakers else "gender"
        figures["embeddings"] = folder / "embeddings.png"
        diagrams.embeddings(
            figures["embeddings"],
            places=places,
            shares=shares,
            colours={"category": text["category"], by: text[by]},
        )


def _uar_by_speaker(predictions: Predictions) -> tuple[list[str], np.ndarray]:
    text = predictions.text
    labelled = (text["category"] != "") & (text["speaker"] != "")
    truth = metrics.indices(text["category"][labelled], predictions.names)
    predicted = metrics.indices(text["predicted"][labelled], predictions.names)
    speakers = predictions.groups[labelled]
    names = sorted(set(speakers))
    one_corpus = len(set(text["corpus"])) == 1
    values = [
        metrics.uar(
            metrics.confusion_matrix(
                truth[speakers == name], predicted[speakers == name], len(predictions.names)
            )
        )
        for name in names
    ]
    return [name.split("/", 1)[1] if one_corpus else name for name in names], np.array(values)


def _speaker_note(predictions: Predictions) -> str:
    """Sums up how far the speakers differ; "" for a single one."""
    names, values = _uar_by_speaker(predictions)
    if len(names) < 2:
        return ""
    worst, best = int(values.argmin()), int(values.argmax())
    return (
        f"UAR of single speakers: mean {values.mean():.3f}, standard deviation "
        f"{values.std(ddof=1):.3f}, from {values[worst]:.3f} ({names[worst]}) to "
        f"{values[best]:.3f} ({names[best]}), each over the categories that the speaker has"
    )


def _mistakes(predictions: Predictions, recording: Recording | None) -> list[dict[str, str]]:
    """Lists the wrong predictions with the highest probability."""

    def audio(row: int) -> str:
        if recording is None:
            return ""
        return base64.b64encode(recording(text["corpus"][row], text["utterance_id"][row])).decode()

    text = predictions.text
    return [
        {
            "utterance": text["utterance_id"][mistake.row],
            "audio": audio(mistake.row),
            "speaker": text["speaker"][mistake.row],
            "truth": text["category"][mistake.row],
            "predicted": text["predicted"][mistake.row],
            "probability": f"{mistake.probability:.2f}",
            "probability_of_truth": f"{mistake.probability_of_truth:.2f}",
        }
        for mistake in worst_mistakes(predictions)
    ]


def _visible(value: object) -> object:
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for key, item in value.items():
        yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
