"""The Jinja template of a report, a page that needs no network and no other file."""

STYLE = """
:root { --ink:#1f2937; --muted:#6b7280; --line:#e5e7eb; --soft:#f8fafc; --accent:#2563eb;
        --good:#047857; --bad:#b91c1c; }
* { box-sizing:border-box; }
html { -webkit-text-size-adjust:100%; }
body { margin:0; background:#f3f4f6; color:var(--ink); font:16px/1.55 system-ui, -apple-system,
       "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width:980px; margin:0 auto; padding:1.5rem 1rem 3rem; }
header h1 { font-size:1.7rem; line-height:1.2; margin:.3rem 0 .2rem; letter-spacing:-.01em; }
header p { margin:0 0 1.2rem; color:var(--muted); }
section { background:#fff; border:1px solid var(--line); border-radius:12px;
          padding:1.1rem 1.25rem 1.25rem; margin:0 0 1rem; }
h2 { font-size:1.1rem; margin:0 0 .6rem; }
h3 { font-size:.95rem; margin:1.1rem 0 .4rem; }
p { margin:.4rem 0 .8rem; } .note { color:var(--muted); font-size:.88rem; }
.cards { display:grid; gap:.75rem; grid-template-columns:repeat(auto-fit, minmax(148px, 1fr));
         margin:0 0 1rem; }
.card { background:#fff; border:1px solid var(--line); border-radius:12px; padding:.8rem 1rem; }
.card b { display:block; font-size:1.7rem; line-height:1.2; font-variant-numeric:tabular-nums; }
.card span { font-size:.85rem; color:var(--muted); display:block; }
.card.main { border-color:#bfdbfe; background:#eff6ff; } .card.main b { color:var(--accent); }
.scroll { overflow-x:auto; -webkit-overflow-scrolling:touch; margin:0 -.25rem; }
table { border-collapse:collapse; width:100%; font-size:.92rem; }
th, td { text-align:left; padding:.42rem .6rem; border-bottom:1px solid var(--line);
         vertical-align:top; }
thead th { color:var(--muted); font-weight:600; font-size:.82rem; white-space:nowrap; }
.wrapped thead th { white-space:normal; }
td.wide { min-width:190px; } th.name { white-space:nowrap; }
th.long { overflow-wrap:anywhere; min-width:130px; }
tbody tr:last-child > * { border-bottom:0; } tbody th { font-weight:500; }
tr.own > * { background:#eff6ff; font-weight:600; }
.num { text-align:right; font-variant-numeric:tabular-nums; white-space:nowrap; }
code { font:.86em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
       overflow-wrap:anywhere; }
small { color:var(--muted); font-weight:400; font-size:.85em; }
small.below { display:block; }
audio { width:230px; height:36px; display:block; }
img { display:block; max-width:100%; height:auto; margin:.4rem auto 0; }
img[alt^="Confusion"] { max-width:min(100%, 660px); }
img[alt^="Reliability"] { max-width:min(100%, 460px); }
.ok { color:var(--good); font-weight:600; } .bad { color:var(--bad); font-weight:600; }
.bar { background:var(--line); border-radius:4px; height:.5rem; min-width:70px; margin-top:.5rem; }
.bar i { display:block; background:var(--accent); border-radius:4px; height:100%; }
details summary { cursor:pointer; font-weight:600; }
footer { color:var(--muted); font-size:.85rem; text-align:center; }
@media (max-width:560px) { td small { display:block; }
  main { padding:1rem .6rem 2rem; } section { padding:.9rem .8rem 1rem; }
  th, td { padding:.38rem .42rem; } .card b { font-size:1.4rem; }
  img[alt^="Confusion"] { max-width:none; width:580px; } }
@media print { body { background:#fff; } section, .card { break-inside:avoid; } }
"""

TEMPLATE = """{% macro table(header, rows) %}
<div class="scroll"><table class="wrapped">
<thead><tr>{% for name in header %}<th class="{{ "num" if loop.index0 }}">{{ name }}</th>
{% endfor %}</tr></thead>
<tbody>{% for row in rows %}<tr class="{{ "own" if loop.first }}"><th class="name">{{ row[0] }}</th>
{% for cell in row[1:] %}{% set value, mark, rest = cell.partition(" [") %}<td class="num">{{ value
}}{% if mark %} <small class="below">[{{ rest }}</small>{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endmacro %}<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}: speech emotion scores</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<header>
<h1>{{ title }}</h1>
<p>{{ corpus.num_utterances }} utterances of {{ speakers }} from {{ corpus.name }},
protocol <b>{{ protocol.name }}</b>, {{ folds | length }} fold{{ "" if folds | length == 1 else "s"
}}. {{ "Weights started from " if init_from else "Trained from scratch."
}}{% if init_from %}<code>{{ init_from }}</code>.{% endif %}</p>
</header>

<div class="cards">
{% for card in cards %}
<div class="card {{ "main" if loop.first }}"><span>{{ card.name }}</span><b>{{ card.value }}</b>
<span>{{ card.note }}</span></div>
{% endfor %}
</div>

{% if scores %}
<section>
<h2>Scores compared with guessing</h2>
<div class="scroll"><table>
<thead><tr><th></th>
{% for name in score_columns %}<th class="num">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in scores %}
<tr class="{{ "own" if row.own }}"><th>{{ row.name }}</th>
{% for value, note in row.cells %}<td class="num">{{ value }} <small>{{ note }}</small></td>
{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
<p class="note">{% if seeds %}Scores are means over {{ seeds | length }} seeds, and counts are sums
over them. {% endif %}
{% if label_rows %}Several categories may apply to an utterance. Macro F1 is the mean over
the categories, micro F1 is of all labels together, both with the thresholds that were
best on validation speakers; average precision needs no threshold. In the row "all" every category
applies everywhere.{% else %}UAR is the unweighted average recall, which papers also call UA or
balanced accuracy; accuracy is what they call WA. The test utterances of all folds are pooled
({{ metrics.num_with_category }} with a category). Majority always predicts
&ldquo;{{ baseline.majority.category }}&rdquo;; chance guesses every category equally often.
{% endif %}</p>
<p class="note">{{ interval_note }}{% if spread_note %}; {{ spread_note }}{% endif %}</p>
</section>
{% endif %}

{% if dimension_rows %}
<section>
<h2>Dimensions</h2>
<div class="scroll"><table>
<thead><tr><th>dimension</th><th class="num">CCC</th><th class="num">95 % interval</th>
{% for name in dimension_columns.values() %}<th class="num">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in dimension_rows %}<tr><th>{{ row.name }}</th>
<td class="num">{{ row.value }}</td><td class="num">{{ row.interval }}</td>
{% for kind in dimension_columns %}<td class="num">{{ row[kind] }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table></div>
{{ figure("dimensions", "Predicted against true dimensions") }}
<p class="note">Concordance correlation over all test utterances that have a rating
({{ metrics.num_with_dimensions }}), on the scale 0 to 1; RMSE and MAE are errors. Any
constant prediction has CCC 0.
{% for note in undefined_notes %}<br>{{ note }}{% endfor %}</p>
</section>
{% endif %}

{% if label_rows %}
<section>
<h2>Categories</h2>
<div class="scroll"><table>
<thead><tr><th>category</th><th class="num">applies to</th><th class="num">predicted</th>
<th class="num">F1</th><th class="num">average precision</th></tr></thead>
<tbody>{% for row in label_rows %}<tr><th>{{ row.name }}</th><td class="num">{{ row.total }}</td>
<td class="num">{{ row.predicted }}</td><td class="num">{{ row.f1 }}</td>
<td class="num">{{ row.average_precision }}</td></tr>{% endfor %}</tbody>
</table></div>
</section>
{% endif %}

{% if class_rows %}
<section>
<h2>Categories</h2>
<div class="scroll"><table>
<thead><tr><th>category</th><th class="num">utterances</th><th class="num">found</th>
<th class="num">recall</th><th></th><th class="num">precision</th><th class="num">F1</th></tr>
</thead>
<tbody>{% for row in class_rows %}<tr><th>{{ row.name }}</th><td class="num">{{ row.total }}</td>
<td class="num">{{ row.found }}</td><td class="num">{{ row.recall }}</td>
<td><div class="bar"><i style="width:{{ row.percent }}%"></i></div></td>
<td class="num">{{ row.precision }}</td><td class="num">{{ row.f1 }}</td></tr>{% endfor %}</tbody>
</table></div>
{% if absent %}<p class="note">{{ absent | join(", ") }}: the recall is not defined, because there
is no such utterance</p>{% endif %}
<div class="scroll">{{ figure("confusion", "Confusion matrix, rows are the truth") }}</div>
</section>
{% endif %}

{% if "reliability" in figures %}
<section>
<h2>Confidence</h2>
{{ figure("reliability", "Reliability diagram, accuracy over confidence") }}
<p class="note">On the dashed line, a prediction is right as often as its probability; bars below it
are overconfident. The expected calibration error is the mean distance from it, weighted by the
utterances of each bin.</p>
{% if calibration_rows %}
<h3>Calibration{{ of_seed }}</h3>
<div class="scroll"><table><thead><tr><th>probabilities</th>
{% for name in calibration_columns %}<th class="num">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in calibration_rows %}<tr><th>{{ row.name }}</th>
{% for value in row.cells %}<td class="num">{{ value }}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table></div>
{{ figure("reliability_temperature", "Reliability diagram with temperature") }}
<p class="note">{% if temperatures %}Temperature{{ "s of the folds" if folds | length > 1 }}:
{{ temperatures }}; fitted on validation speakers alone, and part of a released model.{% else %}
There is no temperature: the folds have no validation answers.{% endif %} ECE: expected calibration
error; NLL: negative log-likelihood; AURC: mean error over all shares of the most confident
answers. Lower is better.</p>
{% endif %}
{% if uncertainty_rows %}
<h3>Uncertainty</h3>
<div class="scroll"><table><thead><tr><th>answers</th><th>measure</th>
<th class="num">AUROC of errors</th><th class="num">AURC</th><th class="num">mean</th></tr></thead>
<tbody>{% for row in uncertainty_rows %}<tr class="{{ "own" if row.best }}">
<th>{{ row.name }} <small>UAR {{ row.uar }}</small></th><td>{{ row.measure }}</td>
{% for value in row.cells %}<td class="num">{{ value }}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table></div>
<p class="note">AUROC: how often a wrong answer is more uncertain than a right one, 0.5 by chance.
</p>
{% endif %}
{% if mistakes %}
<h3>Most confident mistakes</h3>
<div class="scroll"><table>
<thead><tr><th>utterance</th><th>speaker</th><th>truth</th><th>predicted</th>
<th class="num">probability</th><th class="num">of the truth</th>
{% if listen %}<th>recording</th>{% endif %}</tr></thead>
<tbody>{% for row in mistakes %}<tr><th class="long">{{ row.utterance }}</th>
<td>{{ row.speaker }}</td><td>{{ row.truth }}</td><td>{{ row.predicted }}</td>
<td class="num">{{ row.probability }}</td><td class="num">{{ row.probability_of_truth }}</td>
{% if listen %}<td><audio controls preload="none" src="data:audio/flac;base64,{{ row.audio }}">
</audio></td>{% endif %}</tr>{% endfor %}</tbody>
</table></div>
{% endif %}
</section>
{% endif %}

<section>
<h2>Folds</h2>
<div class="scroll"><table>
<thead><tr><th>fold</th><th class="num">train</th><th class="num">test</th>
{% for name in fold_columns %}<th class="num">{{ name }}</th>{% endfor %}
<th>test speakers</th></tr></thead>
<tbody>
{% for row in fold_rows %}
<tr class="{{ "own" if row.own }}"><th>{{ row.name }}</th><td class="num">{{ row.train }}</td>
<td class="num">{{ row.test }}</td>
{% for value in row.cells %}<td class="num">{{ value }}</td>{% endfor %}
<td class="wide">{{ row.speakers }}</td></tr>
{% endfor %}
</tbody></table></div>
{% for note in fold_notes %}<p class="note">{{ note }}</p>{% endfor %}
{{ figure("speakers", "UAR of every speaker") }}
{% if speaker_note %}<p class="note">{{ speaker_note }}</p>{% endif %}
{% if gender_rows and not group_rows %}
<h3>By gender</h3>
<div class="scroll"><table>
<thead><tr><th>gender</th><th class="num">utterances</th>
{% for name in fold_columns %}<th class="num">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in gender_rows %}<tr><th>{{ row.name }}</th><td class="num">{{ row.total }}</td>
{% for value in row.cells %}<td class="num">{{ value }}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table></div>
{% for note in gender_notes %}<p class="note">{{ note }}</p>{% endfor %}
{% endif %}
</section>

{% if group_rows %}
<section>
<h2>Groups of speakers{{ of_seed }}</h2>
<div class="scroll"><table>
<thead><tr><th>group</th><th class="num">utterances</th><th class="num">speakers</th>
{% for name in group_columns %}<th class="num">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in group_rows %}<tr class="{{ "own" if row.gap }}">
<th class="name">{{ row.name }}</th>
{% for value in row.sizes %}<td class="num">{{ value }}</td>{% endfor %}
{% for value, note in row.cells %}<td class="num">{{ value }} <small>{{ note }}</small></td>
{% endfor %}</tr>{% endfor %}</tbody></table></div>
<p class="note">A gap is the highest minus the lowest score of the groups; 95 % intervals draw
speakers. A gap is never negative, and with many small groups large by chance.</p>
</section>
{% endif %}

{% if robustness_rows %}
<section>
<h2>Robustness</h2>
{{ figure("robustness", "Scores under noise, in rooms and through codecs") }}
{{ table(robustness_header, robustness_rows) }}
<p class="note">The model was not trained anew; only the test recordings were changed. Noise is as
loud as the SNR over the whole recording says.</p>
</section>
{% endif %}

{% if "embeddings" in figures %}
<section>
<h2>Embeddings</h2>
{{ figure("embeddings", "Map of the embeddings") }}
<p class="note">The first two principal components of the vectors that the heads read, once coloured
by category and once by speaker or gender.</p>
</section>
{% endif %}

{% if "layers" in figures %}
<section>
<h2>Layers</h2>
{{ figure("layers", "Weight of each layer") }}
<p class="note">Share of each layer in the learned weighted sum that is pooled.</p>
</section>
{% endif %}

{% if comparison %}
<section>
<h2>Comparison</h2>
{{ table(comparison.header, comparison.rows) }}
{% for note in comparison.notes %}<p class="note">{{ note }}</p>{% endfor %}
</section>
{% endif %}

{% if "training" in figures %}
<section>
<h2>Training</h2>
{{ figure("training", "Training loss and validation scores") }}
<p class="note">{{ "Mean over the folds of each seed. " if seeds }}Validation speakers come from the
training side; nothing is chosen on the test fold.
{% if no_curves %}No curve was found for {{ no_curves | join(", ") }}.{% endif %}</p>
</section>
{% endif %}

<section>
<h2>Protocol and overlap checks</h2>
{% for warning in warnings %}<p class="bad">{{ warning }}</p>{% endfor %}
<div class="scroll"><table><tbody>
{% for name, value in protocol_rows %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>{% endfor %}
</tbody></table></div>
<h3>Shared between training, validation and test side</h3>
{% if check_rows %}
<div class="scroll"><table><thead><tr><th>fold</th>
{% for name in check_columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in check_rows %}<tr><th>{{ row.name }}</th>
{% for cell in row.cells %}<td class="{{ cell.mark }}">{{ cell.text }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% else %}<p class="note">No checks apply.</p>{% endif %}
</section>

<section>
<h2>Data</h2>
<div class="scroll"><table>
<thead><tr><th>corpus</th><th>version</th><th class="num">utterances</th>
<th class="num">speakers</th><th>licence</th><th>fingerprint</th></tr></thead>
<tbody>{% for row in corpus.corpora %}<tr><th>{{ row.corpus }}</th><td>{{ row.version }}</td>
<td class="num">{{ row.num_utterances }}</td><td class="num">{{ row.num_speakers or "?" }}</td>
<td>{{ row.licence or "not stated" }}</td><td><code>{{ row.fingerprint }}</code></td></tr>
{% endfor %}</tbody>
</table></div>
</section>

<section>
<details><summary>Configuration ({{ config_rows | length }} settings)</summary>
<div class="scroll"><table><tbody>
{% for name, value in config_rows %}<tr><td><code>{{ name }}</code></td>
<td><code>{{ value }}</code></td></tr>{% endfor %}
</tbody></table></div></details>
</section>

<footer>{{ "seeds " ~ seeds | join(", ") if seeds else "seed " ~ seed
}}{% for name, value in versions.items() %} · {{ name }} {{ value }}{% endfor %}</footer>
</main>
</body>
</html>
"""
