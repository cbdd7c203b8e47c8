"""The model card: intended use, scores, training data and licence.

Names in it come from outside: from manifests, folders and other models. In prose and tables they
are escaped for Markdown, in code they are quoted for its language.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from sersl.core.display import one_line
from sersl.eval.predictions import speakers_of
from sersl.release.licences import hub_licence, restricted
from sersl.release.packaged.shipped import from_embedded_corpus

# Characters that mean something in Markdown or HTML; "_" only at the edge of a word.
_MARKS = re.compile(r"[\\`*\[\]<>|#~$&]|(?<!\w)_|_(?!\w)")

TEMPLATE = """---
license: {{ hub_licence }}
{% if hub_licence == "other" %}
license_name: {{ (licence or "not stated") | tojson }}
{% endif %}
library_name: sersl
{% if about.heads %}
pipeline_tag: audio-classification
{% endif %}
tags:
- speech
- speech-emotion-recognition
- sersl
{% if about.corpora %}
datasets:
{% for corpus in about.corpora %}
- {{ corpus.corpus | tojson }}
{% endfor %}
{% endif %}
{% if results %}
metrics:
- recall
- accuracy
- f1
{% endif %}
---

# {{ name }}

{% if about.heads %}
Predicts {{ predicts }} from speech, with {{ "{:,}".format(num_parameters) }} parameters.
{% else %}
A pretrained speech encoder with {{ "{:,}".format(num_parameters) }} parameters, without heads: fine-tune it, or take its embeddings.
{% endif %}
{% if about.heads and embedded %}
**Trained on the embedded synthetic corpus alone**, to show how sersl works: its answers mean nothing for real speech.
{% endif %}
{% if about.get("fusion") %}
It reads further views of each recording, combined with its encoder by {{ about.fusion.kind }} fusion: {% for view in about.views %}{{ view.name }} from {{ view.source | code }}{{ ", " if not loop.last }}{% endfor %}.
{% endif %}
{% if about.get("weights") == "int8" %}
The kernels of the encoder are stored in 8 bits with a scale for each output; sersl computes with them in float32, and transformers does not load them.
{% endif %}
{% if about.imported %}
Imported with sersl {{ about.sersl }} from the Hugging Face model {{ about.imported.source | code }}, whose card describes its training data and terms.
{% if about.imported.get("layers") %}
Cut after {{ about.imported.layers }} of {{ about.imported.layers_of_source }} layers: its hidden states 0 to {{ about.imported.layers }} are those of the source{% if not about.encoder.final_norm %}, without the final LayerNorm, so that transformers does not load it{% endif %}.
{% endif %}
{% else %}
Made with sersl {{ about.sersl }} (configuration "{{ about.name }}"{% if about.init_from %}, starting weights {{ about.init_from | code }}{% endif %}).
{% endif %}

## Use

{% if about.heads %}
```python
import sersl

model = sersl.load({{ name | python }})
print(model.predict("speech.wav"))
```

```bash
sersl predict --model {{ name | shell }} speech.wav --output emotions.csv
```

{% if about.get("average_speeds") %}
Scores are means over the recording and copies of it at the speeds {{ about.average_speeds | join(" and ") }}, which takes about {{ about.average_speeds | length + 1 }} times as long. `--no_average`, or `sersl.load(..., average=False)`, scores the recording alone; the scores below do not describe that. Embeddings and scores of frames are those of the recording alone.

{% endif %}
{% if about.get("conversation") %}
The heads read the {% if about.conversation.causal %}earlier{% else %}other{% endif %} turns of a dialogue: `sersl predict --dialogues FILE` with the columns path, dialogue, turn and speaker{% if about.conversation.causal %}, or `model.conversation()` turn by turn{% endif %}. A recording alone is answered without context, which the scores below do not describe.

{% endif %}
{% if about.categories %}
{% if labels.multi %}
Categories, by name: {{ about.categories | join(", ") }}. Several may apply: each has a probability of its own, and applies from its threshold, which was best on validation speakers: {{ thresholds }}.
{% else %}
Categories, by name: {{ about.categories | join(", ") }}. Scores are probabilities that sum to 1.
{% endif %}
{% if labels.temperature == 1 %}
They are calibrated: their scale was fitted on answers for training speakers that were left out in turn.
{% elif labels.temperature %}
They are calibrated: a temperature of {{ "%.3f" | format(labels.temperature) }}, which divides the logits, was fitted on answers for validation speakers.
{% elif not labels.multi and not about.imported %}
They are not calibrated: there are no validation answers to fit a temperature on.
{% endif %}
{% if labels.classes %}
Categories of the training data that were renamed or merged: {{ classes }}.
{% endif %}
{% endif %}
{% if about.dimensions %}
Dimensions, by name: {{ about.dimensions | join(", ") }}, each from {{ about.scale.low }} to {{ about.scale.high }}.
{% if labels.scales %}
These are the ends of the scales of the training data: {{ scales }}.
{% endif %}
{% endif %}
{% if "arousal_from_category" in about.dimensions or "valence_from_category" in about.dimensions %}
What ends in `_from_category` was learned from categories alone: the positions of the categories on a plane, which nobody rated.
{% endif %}
{% if about.heads.get("category_loss") == "evidential" and about.categories %}
Each prediction also has `vacuity`, 0 (much evidence) to 1 (none), of a Dirichlet distribution.
{% endif %}
{% if about.heads.get("category_loss") == "prototypes" and about.categories %}
Each prediction also has `open_set`, 0 to 1, the distance to the nearest category; above {{ about.heads.open_set_threshold }} the category is "unknown".
{% endif %}
{% if about.heads.get("category_loss") in ("annotators", "listeners") and about.categories %}
The probabilities are the mean over {{ about.heads.annotators | length }} modelled annotators.
{% endif %}
{% if about.heads.get("dimensions_loss") == "evidential" and about.dimensions %}
Each dimension also has `_aleatoric` and `_epistemic`, standard deviations of the rating and of the estimate.
{% endif %}
{% else %}
```bash
sersl finetune --config configs/finetune/emotion.py:tiny --workdir run --config.init_from={{ name | shell }}
sersl embed --model {{ name | shell }} speech.wav --output embeddings.npz
```
{% endif %}

Audio of any rate and number of channels is mixed to mono at {{ about.sample_rate }} Hz.
{% if about.frontend.kind == "waveform" and about.frontend.normalize == "utterance" %}
Its level is normalized, as in the training of the encoder, so loudness has no effect.
{% elif about.frontend.normalize == "fixed" and about.frontend.kind != "whisper" %}
The level is not normalized, since loudness carries emotion.
{% endif %}

## Scores

{% if results %}
{% if "confusion" in results.metrics %}
| | UAR (UA) | accuracy (WA) | macro F1 |
|---|---|---|---|
| this recipe | {% for key in ("uar", "accuracy", "macro_f1") %}{{ score(results.metrics[key]) }}{{ interval(results.confidence[key]) }} | {% endfor %}

{% for kind, baseline in results.baseline.items() %}
| {{ kind }} | {{ score(baseline.uar) }} | {{ score(baseline.accuracy) }} | {{ score(baseline.macro_f1) }} |
{% endfor %}

{% endif %}
{% if "labels" in results.metrics %}
| | macro F1 | micro F1 | average precision |
|---|---|---|---|
| this recipe | {% for key in ("macro_f1", "micro_f1", "average_precision") %}{{ score(results.metrics[key]) }}{{ interval(results.confidence[key]) }} | {% endfor %}

{% for kind, baseline in results.baseline.items() %}
| {{ kind }} | {% for key in ("macro_f1", "micro_f1", "average_precision") %}{{ score(baseline[key]) }} | {% endfor %}

{% endfor %}

| category | utterances | F1 | average precision |
|---|---|---|---|
{% for category, own in results.metrics.labels.items() %}
| {{ category }} | {{ own.num_utterances }} | {{ score(own.f1) }} | {{ score(own.average_precision) }} |
{% endfor %}

{% endif %}
{% if results.metrics.ccc %}
| dimension | CCC |
|---|---|
{% for dimension, value in results.metrics.ccc.items() %}
| {{ dimension }} | {{ score(value) }}{{ interval(results.confidence.ccc[dimension]) }} |
{% endfor %}

{% endif %}
Measured on {{ results.corpus.num_utterances }} utterances of {{ speakers }}
of {{ results.corpus.name }}, protocol {{ results.protocol.name }}: every utterance was
scored by a model that was not trained on its {{ "audio" if overlap else "speaker" }}. Brackets:
95 % interval, bootstrap over speakers. If the weights here were trained on the speakers of all
folds, these are the scores of the recipe, not of this file.
{% for warning in results.protocol.get("warnings") or [] %}

Note: {{ warning }}.
{% endfor %}
{% else %}
Not scored.
{% endif %}

{% if about.get("notes") %}
## Notes

{{ notes }}

{% endif %}
## Training data and licence

{% if about.corpora %}
| corpus | version | utterances | licence | fingerprint |
|---|---|---|---|---|
{% for corpus in about.corpora %}
| {{ corpus.corpus }} | {{ corpus.version }} | {{ corpus.num_utterances }} | {{ corpus.licence or "not stated" }} | {{ corpus.fingerprint[:16] | code }} |
{% endfor %}

{% endif %}
{% if about.origin %}
Data behind its starting weights, annotators and teachers:

| by | corpus | version | labels used | licence | fingerprint |
|---|---|---|---|---|---|
{% for other in about.origin %}
| {{ other.by }} | {{ other.corpus }} | {{ other.version }} | {{ "yes" if other.labels_used else "no" }} | {{ other.get("licence") or "not stated" }} | {{ other.fingerprint[:16] | code }} |
{% endfor %}

{% endif %}
{% if forbidding %}
**No commercial use**: the terms of {{ forbidding }} do not allow it, and hold for these weights.
{% endif %}
{% if licence %}
The model is released under {{ licence }}. The terms of the training data still hold.
{% else %}
No licence is stated for the model. Until its maker states one, only the terms of the
{{ "model it was imported from" if about.imported else "training data above" }} are known; data marked NC allows no commercial use.
{% endif %}

## Intended use and limits

- For research on speech, and for describing how a recording sounds. The model rates a voice; it cannot tell what a person feels.
- Not for decisions about people: not at work, in school, in court, in insurance or at a border. Emotion recognition at work and in education is forbidden in the European Union (AI Act, article 5).
- Scores fall on other languages, on microphones and rooms unlike the training data, and acted emotion differs from felt emotion. Score it on your own data first: {{ evaluate | code }}.
{% if results and results.corpus.num_speakers < 50 %}
- It was tested on {{ "" if speakers == "unknown speakers" else "only " }}{{ speakers }}; other voices, ages and accents may get wrong scores.
{% endif %}
- Audio without speech gets scores too, except digital silence; their status is `no_speech`.
"""  # noqa: E501, a row of a table is one line


def render(about: Mapping[str, Any], *, name: str, num_parameters: int) -> str:
    """Writes the card of a released model.

    Args:
      about: content of `sersl.json`.
      name: of the model's folder.
      num_parameters: scalars in the file.

    Returns:
      Markdown with a YAML header.
    """
    environment = jinja2.Environment(
        autoescape=False,  # Markdown, not HTML; see `finalize`
        finalize=_prose,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": _code, "python": _python, "shell": _shell}
    licence, results = about["licence"], about["results"]
    parts = []
    if about["categories"]:
        parts.append(f"{len(about['categories'])} emotion categories")
    if about["dimensions"]:
        parts.append(", ".join(about["dimensions"]))
    overlap = results is not None and (
        "allow_speaker_overlap" in results["protocol"]
        and results["protocol"]["allow_speaker_overlap"]
    )
    number = 0 if results is None else results["corpus"]["num_speakers"]
    overlap = overlap or not number
    labels: dict[str, Any] = {"multi": False, "classes": [], "scales": {}, "thresholds": {}}
    labels["temperature"] = None
    labels |= about.get("labels", {})
    return environment.from_string(TEMPLATE).render(
        about=about,
        labels=labels,
        thresholds=", ".join(f"{name} {value:.2f}" for name, value in labels["thresholds"].items()),
        classes=", ".join(f"{word} as {name}" for word, name in labels["classes"]),
        scales=", ".join(
            f"{name} {low:g} to {high:g}" for name, (low, high) in labels["scales"].items()
        ),
        name=name,
        embedded=from_embedded_corpus(about),
        notes=Markup(about.get("notes", "")),
        num_parameters=num_parameters,
        results=results,
        licence=licence,
        forbidding=", ".join(restricted([*about["corpora"], *about["origin"]])),
        hub_licence=hub_licence(licence),
        predicts=" and ".join(parts),
        overlap=overlap,
        speakers=speakers_of(number),
        score=lambda value: "–" if value is None else f"{value:.3f}",
        interval=_interval,
        evaluate=f"sersl evaluate --model {_shell(name)} --corpus NAME --data_dir DIR --output DIR",
    )


def _prose(value: object) -> object:
    """Escapes text for Markdown; what a filter made stays as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return Markup(_MARKS.sub(r"\\\g<0>", one_line(value)))


def _code(text: str) -> Markup:
    """Makes a code span; a backtick would end it, and a bar would end the cell of a table."""
    return Markup("`" + one_line(text).replace("`", "'").replace("|", "¦") + "`")


def _python(text: str) -> Markup:
    return Markup(one_line(json.dumps(text, ensure_ascii=False)))


def _shell(text: str) -> Markup:
    return Markup(shlex.quote(one_line(text)))


def _interval(pair: Sequence[float] | None) -> Markup:
    return Markup(f" [{pair[0]:.3f}, {pair[1]:.3f}]" if pair else "")
