"""The page of a quality report: one file that needs no network and no other file."""

import math
from collections.abc import Mapping

import jinja2
from markupsafe import Markup

from sersl.corpora.utterance import short_reason

_PANELS = (
    ("duration", "duration", "seconds"),
    ("level", "level", "dBFS, root mean square"),
    ("snr", "signal-to-noise ratio, estimated", "dB"),
    ("silence", "silence", "share of frames"),
    ("peak", "peak", "of full scale"),
)
_SHOWN = 50  # rows of a table; quality.json has all

_STYLE = """
:root { --ink:#1f2937; --muted:#6b7280; --line:#e5e7eb; --accent:#2563eb; --bad:#b91c1c; }
* { box-sizing:border-box; }
body { margin:0; background:#f3f4f6; color:var(--ink); font:16px/1.55 system-ui, -apple-system,
       "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width:980px; margin:0 auto; padding:1.5rem 1rem 3rem; }
header h1 { font-size:1.7rem; line-height:1.2; margin:.3rem 0 .2rem; }
header p { margin:0 0 1.2rem; color:var(--muted); }
section { background:#fff; border:1px solid var(--line); border-radius:12px;
          padding:1.1rem 1.25rem 1.25rem; margin:0 0 1rem; }
h2 { font-size:1.1rem; margin:0 0 .6rem; } h3 { font-size:.95rem; margin:1.1rem 0 .4rem; }
p { margin:.4rem 0 .8rem; } .note { color:var(--muted); font-size:.88rem; }
.cards { display:grid; gap:.75rem; grid-template-columns:repeat(auto-fit, minmax(148px, 1fr));
         margin:0 0 1rem; }
.card { background:#fff; border:1px solid var(--line); border-radius:12px; padding:.8rem 1rem; }
.card b { display:block; font-size:1.6rem; line-height:1.2; font-variant-numeric:tabular-nums; }
.card span { font-size:.85rem; color:var(--muted); display:block; }
.card.bad { border-color:#fecaca; background:#fef2f2; } .card.bad b { color:var(--bad); }
.columns { display:grid; gap:0 1.5rem; grid-template-columns:repeat(auto-fit, minmax(330px, 1fr)); }
.scroll { overflow-x:auto; }
table { border-collapse:collapse; width:100%; font-size:.92rem; }
th, td { text-align:left; padding:.35rem .5rem; border-bottom:1px solid var(--line);
         vertical-align:top; overflow-wrap:anywhere; }
thead th { color:var(--muted); font-weight:600; font-size:.82rem; overflow-wrap:normal; }
td:first-child { min-width:11rem; }
tbody tr:last-child > * { border-bottom:0; } tbody th { font-weight:500; }
.num { text-align:right; font-variant-numeric:tabular-nums; white-space:nowrap; }
.bar { background:var(--line); border-radius:4px; height:.5rem; min-width:24px; margin-top:.5rem; }
.bar i { display:block; background:var(--accent); border-radius:4px; height:100%; }
code { font:.86em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.figures { display:grid; gap:1rem; grid-template-columns:repeat(auto-fit, minmax(250px, 1fr)); }
svg text { font-size:10px; fill:var(--muted); } svg .title { font-size:12px; font-weight:600;
  fill:var(--ink); } svg .unit { text-anchor:middle; } svg .bars { fill:var(--accent); }
svg .axis { stroke:#9ca3af; } svg .median { stroke:#d97706; stroke-width:1.5; }
details summary { cursor:pointer; font-weight:600; }
footer { color:var(--muted); font-size:.85rem; text-align:center; overflow-wrap:anywhere; }
@media print { body { background:#fff; } section, .card { break-inside:avoid; } }
"""

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ corpus }}: quality of the recordings</title>
<style>{{ style }}</style>
</head>
<body><main>
{% macro listing(title, columns, rows, note="") %}{% if rows %}
<h3>{{ title }} ({{ rows | length }})</h3>
<div class="scroll"><table><thead><tr>{% for column in columns %}<th>{{ column }}</th>{% endfor
%}</tr></thead><tbody>{% for row in rows[:shown] %}<tr>{% for cell in row %}<td>{{ cell }}</td>
{%- endfor %}</tr>{% endfor %}</tbody></table></div>
{% if rows | length > shown %}<p class="note">The first {{ shown }}; quality.json lists all.</p>
{% endif %}{% if note %}<p class="note">{{ note }}</p>{% endif %}{% endif %}{% endmacro %}
<header><h1>{{ corpus }} {{ version }}</h1>
<p>{{ num_utterances }} utterances of {{ length }}; licence: {{ licence or "not stated" }}.
{% for text in differences %}Difference: {{ text }}. {% endfor %}</p></header>
<div class="cards">
{% for name, value, bad in cards %}<div class="card {{ "bad" if bad }}"><span>{{ name }}</span>
<b>{{ value }}</b></div>
{% endfor %}</div>
<section><h2>Distributions</h2><div class="figures">
{% for figure in figures %}{{ figure }}{% endfor %}</div>
<p class="note">Height: utterances. Line: the median.</p>
<div class="scroll"><table><thead><tr><th></th>{% for name in quantiles %}<th class="num">{{ name
}}</th>{% endfor %}</tr></thead><tbody>{% for name, spread in spreads.items() if spread %}<tr>
<th>{{ name }}, {{ units[name] }}</th>{% for key in quantiles %}<td class="num">{{
"%.2f" | format(spread[key]) }}</td>
{%- endfor %}</tr>{% endfor %}</tbody></table></div></section>
<section><h2>What there is</h2><div class="columns">
{% for column, rows, total in count_tables %}<div><h3>By {{ column }} ({{ total }})</h3>
<div class="scroll"><table><thead><tr>
<th>{{ column }}</th><th class="num">utterances</th><th class="num">minutes</th><th></th></tr>
</thead><tbody>{% for row in rows %}<tr><th>{{ row.name }}</th><td class="num">{{ row.utterances }}
</td><td class="num">{{ row.minutes }}</td><td><div class="bar"><i style="width:{{ row.percent
}}%"></i></div></td></tr>{% endfor %}</tbody></table></div>
{% if total > shown %}<p class="note">The {{ shown }} largest; quality.json lists all.</p>{% endif
%}</div>{% endfor %}</div></section>
<section><h2>As the files were</h2><div class="columns">
{% for name, rows in native_tables %}<div><h3>{{ name }}</h3><div class="scroll"><table><tbody>
{% for value, count in rows %}<tr><th>{{ value }}</th><td class="num">{{ count }}</td></tr>
{% endfor %}</tbody></table></div></div>{% endfor %}</div></section>
<section><h2>What to look at</h2>
{% if not faulty %}<p>Nothing: every file was read, none is clipped, mostly silent, offset, noisy
or there twice.</p>{% endif %}
{{ listing("Not readable, without a record", ["file", "reason"], unreadable_rows) }}
{{ listing("Left out by the corpus's rules", ["file", "reason"], left_out_rows) }}
{% for title, fault, unit in fault_tables %}{% if fault.count %}
<h3>{{ title }} ({{ fault.count }})</h3>
<div class="scroll"><table><thead><tr><th>utterance</th><th class="num">{{ unit }}</th></tr></thead>
<tbody>{% for name, value in fault.worst %}<tr><td>{{ name }}</td><td class="num">{{
"%.4g" | format(value) }}</td></tr>{% endfor %}</tbody></table></div>
{% if fault.count > fault.worst | length %}<p class="note">The worst {{ fault.worst | length }} of
{{ fault.count }}.</p>{% endif %}{% endif %}{% endfor %}
{{ listing("All samples are zero", ["utterance"], silent_rows) }}
{{ listing("Shorter than 0.1 s: kept, not trained on", ["utterance"], short_rows) }}
{{ listing("Identical recordings", ["utterances"], duplicate_rows) }}
</section>
<section><details><summary>How it was measured</summary><div class="scroll"><table><tbody>
{% for name, text in methods.items() %}<tr><th>{{ name }}</th><td>{{ text }}</td></tr>
{% endfor %}</tbody></table></div></details></section>
<footer>fingerprint <code>{{ fingerprint }}</code></footer>
</main></body></html>
"""


def _length(hours: float) -> str:
    return f"{hours:.2f} hours" if hours >= 0.1 else f"{60 * hours:.1f} minutes"


def render(content: Mapping) -> str:
    """Makes the page.

    Args:
      content: of `quality.json`.

    Returns:
      HTML with everything in it.
    """
    faults = content["faults"]
    problems = ("unreadable", "left_out", "silent", "short", "duplicates")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_TEMPLATE).render(
        **content,
        style=Markup(_STYLE),
        shown=_SHOWN,
        figures=[
            _draw(title, unit, content["spreads"][name], logarithmic=name == "duration")
            for name, title, unit in _PANELS
        ],
        units={name: unit for name, _, unit in _PANELS},
        quantiles=("min", "p05", "p25", "p50", "p75", "p95", "max", "mean"),
        cards=_cards(content),
        count_tables=[_count_table(name, counts) for name, counts in content["counts"].items()],
        native_tables=[
            (title, sorted(content["native"][key].items(), key=lambda item: -item[1]))
            for title, key in (
                ("Sample rate, Hz", "sample_rate"),
                ("Channels", "channels"),
                ("Format", "format"),
            )
            if content["native"][key]
        ],
        faulty=any(content[key] for key in problems) or any(f["count"] for f in faults.values()),
        fault_tables=[
            ("Clipped", faults["clipping"], "share of samples"),
            ("Mostly silent", faults["mostly_silent"], "share of frames"),
            ("DC offset", faults["dc_offset"], "of full scale"),
            ("Low signal-to-noise ratio", faults["low_snr"], "dB"),
        ],
        unreadable_rows=[(item["path"], short_reason(item)) for item in content["unreadable"]],
        left_out_rows=[(item["path"], item["reason"]) for item in content["left_out"]],
        length=_length(content["hours"]),
        silent_rows=[(name,) for name in content["silent"]],
        short_rows=[(name,) for name in content["short"]],
        duplicate_rows=[(" = ".join(names),) for names in content["duplicates"]],
    )


def _cards(content: Mapping) -> list[tuple[str, str, bool]]:
    faults = content["faults"]
    snr = content["spreads"]["snr"]
    rows = [
        ("not readable", len(content["unreadable"])),
        ("clipped", faults["clipping"]["count"]),
        ("mostly silent", faults["mostly_silent"]["count"]),
        ("low SNR", faults["low_snr"]["count"]),
        ("DC offset", faults["dc_offset"]["count"]),
        ("identical groups", len(content["duplicates"])),
    ]
    cards = [
        ("utterances", str(content["num_utterances"]), False),
        ("speakers", str(content["num_speakers"] or "not known"), False),
        ("median SNR", "–" if snr is None else f"{snr['p50']:.0f} dB", False),
    ]
    # Identical recordings and silence are facts of many corpora; what cannot be read is a loss.
    return cards + [
        (name, str(value), value > 0 and name == "not readable") for name, value in rows
    ]


def _count_table(column: str, counts: Mapping) -> tuple[str, list[dict], int]:
    """Gives the largest groups of a column, largest first, speakers by name."""
    ordered = sorted(counts.items(), key=lambda item: -item[1]["utterances"])[:_SHOWN]
    if column == "speaker":
        ordered.sort()
    most = max((entry["utterances"] for _, entry in ordered), default=1)
    rows = [
        {
            "name": name or ("without" if column == "category" else "not known"),
            "utterances": entry["utterances"],
            "minutes": f"{entry['seconds'] / 60:.1f}",
            "percent": round(100 * entry["utterances"] / most),
        }
        for name, entry in ordered
    ]
    return column, rows, len(counts)


def _draw(title: str, unit: str, spread: Mapping | None, *, logarithmic: bool) -> Markup:
    """Draws one histogram as SVG, the median as a line.

    Drawn by hand: matplotlib would take longer than all the measuring of a small corpus.
    """
    width, height, left, top, bottom = 300, 170, 36, 26, 38
    parts = [f'<text x="0" y="14" class="title">{title}</text>']
    if spread is None:
        parts.append(f'<text x="{left}" y="{height / 2}">no value</text>')
    else:
        bins, middle = spread["bins"], spread["p50"]
        ticks = _ticks(bins[0][0], bins[-1][1], logarithmic=logarithmic)
        scale = math.log if logarithmic else float
        first, last = (scale(v) for v in (min(bins[0][0], ticks[0]), max(bins[-1][1], ticks[-1])))
        base, most = height - bottom, max(count for _, _, count in bins)

        def x(value: float) -> float:
            return round(left + (width - left - 8) * (scale(value) - first) / (last - first), 1)

        path = ""
        for low, high, count in bins:
            y = round(base - (base - top) * count / most, 1)
            path += f"M{x(low)} {base}V{y}H{x(high)}V{base}Z"
        parts.append(f'<path d="{path}" class="bars"/>')
        parts.append(f'<path d="M{left} {base}H{width - 8}" class="axis"/>')
        parts.append(f'<path d="M{x(middle)} {base}V{top}" class="median"/>')
        parts.append(f'<text x="{left - 4}" y="{top + 8}" text-anchor="end">{most}</text>')
        parts += [
            f'<text x="{x(tick)}" y="{base + 14}" text-anchor="middle">{tick:g}</text>'
            for tick in ticks
        ]
    parts.append(f'<text x="{(width + left) / 2}" y="{height - 6}" class="unit">{unit}</text>')
    content = "".join(parts)
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Histogram: {title}">'
        f"{content}</svg>"
    )


def _ticks(low: float, high: float, *, logarithmic: bool) -> list[float]:
    """Chooses a few round numbers from about `low` to about `high`; above 0 for a logarithm."""
    if logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) > 2:
            return inside[:: math.ceil(len(inside) / 6)]
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9)))
    step *= next(factor for factor in (0.2, 0.5, 1, 2) if (high - low) / (step * factor) <= 6)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    first += logarithmic and first <= 0
    return [round(number * step, 9) for number in range(first, last + 1)]
