"""The model card: what the model is for, how well it does, on whose data, under which terms."""

from collections.abc import Mapping

import jinja2

# Names that the Hugging Face Hub takes in the `license` field of a card.
_HUB_LICENCES = {
    "apache-2.0": "apache-2.0",
    "mit": "mit",
    "cc by 4.0": "cc-by-4.0",
    "cc by-sa 4.0": "cc-by-sa-4.0",
    "cc by-nc 4.0": "cc-by-nc-4.0",
    "cc by-nc-sa 4.0": "cc-by-nc-sa-4.0",
    "cc0": "cc0-1.0",
}

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
{% if about.imported %}
Imported with sersl {{ about.sersl }} from the Hugging Face model `{{ about.imported.source }}`, whose card says what it was trained on and under which terms.
{% else %}
Made with sersl {{ about.sersl }} (configuration "{{ about.name }}"{% if about.init_from %}, weights started from `{{ about.init_from }}`{% endif %}).
{% endif %}

## Use

{% if about.heads %}
```python
import sersl

model = sersl.load("{{ name }}")
print(model.predict("speech.wav"))
```

```bash
sersl predict --model {{ name }} speech.wav --output emotions.csv
```

{% if about.categories %}
Categories, by name: {{ about.categories | join(", ") }}. Scores are probabilities that sum to 1.
{% endif %}
{% if about.dimensions %}
Dimensions, by name: {{ about.dimensions | join(", ") }}, each from {{ about.scale.low }} to {{ about.scale.high }}.
{% endif %}
{% else %}
```bash
sersl finetune --config configs/finetune/emotion.py:tiny --workdir run --config.init_from={{ name }}
sersl embed --model {{ name }} speech.wav --output embeddings.npz
```
{% endif %}

Audio of any rate and number of channels is mixed to mono at {{ about.sample_rate }} Hz.
{% if about.frontend.kind == "waveform" and about.frontend.normalize == "utterance" %}
Its level is normalised, as the encoder was trained, so loudness is not heard.
{% elif about.frontend.normalize == "fixed" and about.frontend.kind != "whisper" %}
The level is not normalised, since loudness carries emotion.
{% endif %}

## Scores

{% if results %}
{% if results.metrics.confusion %}
| | UAR (UA) | accuracy (WA) | macro F1 |
|---|---|---|---|
| this recipe | {% for key in ("uar", "accuracy", "macro_f1") %}{{ score(results.metrics[key]) }}{{ interval(results.confidence[key]) }} | {% endfor %}

{% for kind, baseline in results.baseline.items() %}
| {{ kind }} | {{ score(baseline.uar) }} | {{ score(baseline.accuracy) }} | {{ score(baseline.macro_f1) }} |
{% endfor %}

{% endif %}
{% if results.metrics.ccc %}
| dimension | CCC |
|---|---|
{% for dimension, value in results.metrics.ccc.items() %}
| {{ dimension }} | {{ score(value) }}{{ interval(results.confidence.ccc[dimension]) }} |
{% endfor %}

{% endif %}
Measured on {{ results.corpus.num_utterances }} utterances of {{ results.corpus.num_speakers }}
speakers of {{ results.corpus.name }}, protocol {{ results.protocol.name }}: every utterance was
scored by a model that never heard its {{ "audio" if overlap else "speaker" }}. Brackets: 95 %
interval, bootstrap over speakers. When the weights here were trained on all folds' speakers, these
are the scores of the recipe, not of this very file.
{% else %}
Not scored.
{% endif %}

## Training data and licence

{% if about.corpora %}
| corpus | version | utterances | licence | fingerprint |
|---|---|---|---|---|
{% for corpus in about.corpora %}
| {{ corpus.corpus }} | {{ corpus.version }} | {{ corpus.num_utterances }} | {{ corpus.licence or "not stated" }} | `{{ corpus.fingerprint[:16] }}` |
{% endfor %}

{% endif %}
{% if about.origin %}
What the training itself was made from:

| by | corpus | version | labels used | licence | fingerprint |
|---|---|---|---|---|---|
{% for other in about.origin %}
| {{ other.by }} | {{ other.corpus }} | {{ other.version }} | {{ "yes" if other.labels_used else "no" }} | {{ other.get("licence") or "not stated" }} | `{{ other.fingerprint[:16] }}` |
{% endfor %}

{% endif %}
{% if licence %}
The model is released under {{ licence }}. The terms of the training data still hold.
{% else %}
No licence was stated for the model. Until its maker states one, the terms of the
{{ "model it was imported from" if about.imported else "training data above" }} are what is known; data marked NC allows no commercial use.
{% endif %}

## Intended use and limits

- For research on speech, and for describing how a recording sounds. It hears a voice, it does not know what a person feels.
- Not for decisions about people: not at work, in school, in court, in insurance or at a border. Emotion recognition at work and in education is forbidden in the European Union (AI Act, article 5).
- Scores fall on other languages, on microphones and rooms unlike the training data, and acted emotion differs from felt emotion. Score it on your own data first: `sersl evaluate --model {{ name }} --corpus NAME --data_dir DIR --output DIR`.
{% if results and results.corpus.num_speakers < 50 %}
- It was tested on {{ results.corpus.num_speakers }} speakers; with so few, voices, ages and accents that are missing there may be heard wrongly.
{% endif %}
- Audio without speech gets scores too, except digital silence.
"""  # noqa: E501, a row of a table is one line


def render(about: Mapping, *, name: str, num_parameters: int) -> str:
    """Writes the card of a released model.

    Args:
      about: content of `sersl.json`.
      name: of the model's folder.
      num_parameters: scalars in the file.

    Returns:
      Markdown with a YAML header.
    """
    environment = jinja2.Environment(
        autoescape=False,  # Markdown, not HTML
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
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
    return environment.from_string(TEMPLATE).render(
        about=about,
        name=name,
        num_parameters=num_parameters,
        results=results,
        licence=licence,
        hub_licence=_hub_licence(licence),
        predicts=" and ".join(parts),
        overlap=overlap,
        score=lambda value: "–" if value is None else f"{value:.3f}",
        interval=lambda pair: f" [{pair[0]:.3f}, {pair[1]:.3f}]" if pair else "",
    )


def _hub_licence(licence: str) -> str:
    known = [tag for name, tag in _HUB_LICENCES.items() if name == licence.lower()]
    return known[0] if known else "other"  # what the Hub wants for a licence that it does not list
