"""A trace as one self-contained HTML page."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from pipeline.reports.blocks import visible
from pipeline.reports.html_template import STYLE
from pipeline.reports.trace import Trace
from pipeline.store.files import write_text

_CELL = 14  # pixels of the attention picture, before scaling

_PAGE = (
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'">
<title>Trace</title>
<style>"""
    + STYLE
    + """
.tokens { display: flex; flex-wrap: wrap; gap: .35rem; margin: 1rem 0; }
.token { border: 1px solid var(--line); border-radius: 6px; text-align: center; overflow: hidden; }
.token b { display: block; font: 600 .88rem/1.5 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono",
  "Noto Sans Mono CJK SC", monospace; padding: .1rem .5rem; white-space: pre; min-width: 2rem; }
.token span { display: block; font-size: .74rem; color: var(--quiet); background: var(--panel); }
.token.trained { border-color: var(--good); }
.token.trained span { color: var(--good); background: var(--good-wash); }
td.token-text { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre; }
tr.unscored td { color: var(--quiet); }
.bar { display: inline-block; height: .55rem; border-radius: 3px; background: var(--accent);
  vertical-align: baseline; min-width: 1px; }
tr.unscored .bar { background: var(--line); }
.guess { display: inline-block; white-space: pre; font-size: .8rem; color: var(--quiet);
  margin-right: .8rem; }
.guess b { color: var(--ink); font-family: ui-monospace, Menlo, Consolas, monospace; }
.steps { display: grid; gap: .4rem; margin: 1rem 0; }
.step { display: grid; grid-template-columns: 7rem 9rem 1fr; gap: 1rem; align-items: baseline; }
.step code { font-weight: 650; }
.step span { color: var(--quiet); font-size: .88rem; }
svg { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
svg .on { fill: var(--accent); } svg .off { fill: var(--panel); }
svg text { fill: var(--quiet); font: 9px system-ui, sans-serif; }
.result { font-size: 1.15rem; font-variant-numeric: tabular-nums; }
</style>
</head>
<body>
<main>
<h1>From text to loss</h1>
<p class="subtitle">{{ trace.rule|visible }}</p>
<section><h2>Text</h2>
<pre class="code">{{ trace.text|visible }}</pre>
{% if trace.answer is not none %}<pre class="code">{{ trace.answer|visible }}</pre>{% endif %}
</section>
<section><h2>Tokens and ids</h2>
<p>{{ trace.ids|length }} tokens{% if trace.padding %} and {{ trace.padding }} positions of padding
{% endif %}; green ones are trained on.</p>
<div class="tokens">
{% for token in trace.tokens %}
<div class="token{{ ' trained' if trace.trainable[loop.index0] }}"><b>{{ token|visible or ' ' }}</b>
<span>{{ trace.ids[loop.index0] }}</span></div>
{% endfor %}
</div>
</section>
<section><h2>Inputs, targets, mask, and what the model thinks</h2>
<p>Targets are the inputs moved by one: position t reads itself and everything before it and
predicts the token at t + 1. Where the mask is 0 the prediction does not count.</p>
<div class="scroll"><table>
<thead><tr><th class="right">t</th><th>input</th><th class="right">id</th><th>target</th>
<th class="right">id</th><th class="right">mask</th><th class="right">probability</th>
<th class="right">nats</th><th></th><th>likeliest</th></tr></thead>
<tbody>
{% for row in trace.positions %}
<tr{% if not row.mask %} class="unscored"{% endif %}>
<td class="right">{{ row.index }}</td>
<td class="token-text">{{ row.input_token|visible }}</td><td class="right">{{ row.input_id }}</td>
<td class="token-text">{{ row.target_token|visible }}</td><td class="right">{{ row.target_id }}</td>
<td class="right">{{ row.mask }}</td>
<td class="right">{{ "%.4f"|format(row.probability) }}</td>
<td class="right">{{ "%.3f"|format(row.nats) }}</td>
<td><span class="bar" style="width: {{ "%.1f"|format(row.nats * 80 / most) }}px"></span></td>
<td>{% for guess in row.top %}<span class="guess"><b>{{ guess.token|visible }}</b>
{{- " %.2f"|format(guess.probability) }}</span>{% endfor %}</td>
</tr>
{% endfor %}
</tbody></table></div>
</section>
<section><h2>Shapes</h2>
<div class="steps">
{% for shape in trace.shapes %}
<div class="step"><div>{{ shape.name|visible }}</div><code>{{ shape.shape }}</code>
<span>{{ shape.meaning|visible }}</span></div>
{% endfor %}
</div>
</section>
<section><h2>Attention mask</h2>
<p>Row t may read the coloured columns: itself and what came before (sequence mask), never padding
(padding mask).</p>
<svg viewBox="0 0 {{ side + 34 }} {{ side + 14 }}" width="{{ side + 34 }}" role="img"
 aria-label="which positions each position may read">
{% for row in trace.may_attend %}
{% set y = loop.index0 * cell + 12 %}
{% set readable = row|select|list|length %}
<text x="14" y="{{ y + cell * 0.75 }}" text-anchor="end">{{ loop.index0 }}</text>
<rect class="off" x="20" y="{{ y }}" width="{{ side - 1 }}" height="{{ cell - 1 }}"/>
<rect class="on" x="20" y="{{ y }}" width="{{ readable * cell - 1 }}" height="{{ cell - 1 }}"/>
{% endfor %}
</svg>
</section>
<section><h2>Loss</h2>
<p class="result">sum(loss × mask) / sum(mask) =
{{ "%.4f"|format(trace.sum_nats) }} / {{ trace.scored }} =
<b>{{ "%.4f"|format(trace.loss) }}</b> nats per token<br>
perplexity = exp({{ "%.4f"|format(trace.loss) }}) = <b>{{ "%.2f"|format(trace.perplexity) }}</b></p>
</section>
</main>
</body>
</html>
"""
)


def render_trace_html(trace: Trace) -> str:
    """The page as text; encode it as UTF-8."""
    most = max((row.nats for row in trace.positions if row.mask), default=1.0) or 1.0
    side = len(trace.may_attend) * _CELL
    page: str = _template().render(trace=trace, most=max(most, 1e-9), cell=_CELL, side=side)
    return page


def write_trace(trace: Trace, path: Path) -> None:
    """Write the page to `path`, atomically."""
    write_text(path, render_trace_html(trace))


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = visible
    return environment.from_string(_PAGE)
