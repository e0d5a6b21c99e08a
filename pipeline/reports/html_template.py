"""The page of a report: its style sheet and its Jinja template."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f6f8f9; --ink: #1f2328; --quiet: #5d6772; --line: #e1e5e9;
  --accent: #0b6e99; --second: #d9822b; --good: #1a7f4b; --bad: #b42318;
  --good-wash: #e9f6ef; --bad-wash: #fdf0ee;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181c; --panel: #1d2126; --ink: #e6e8ea; --quiet: #98a1aa; --line: #2e343a;
    --accent: #58b6dd; --second: #e8985a; --good: #5cc98c; --bad: #f0786c;
    --good-wash: #16261e; --bad-wash: #2c1b1a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "PingFang SC",
    "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif;
}
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.015em; margin: 0; }
.subtitle { color: var(--quiet); margin: .35rem 0 0; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 1.4rem 0 0; padding: .7rem 0;
  border-block: 1px solid var(--line); font-size: .9rem; }
nav a { color: var(--quiet); text-decoration: none; }
nav a:hover { color: var(--accent); }
section { margin-top: 3.2rem; }
h2 { font-size: 1.3rem; letter-spacing: -0.01em; margin: 0 0 1rem; }
p { margin: .8rem 0; max-width: 46rem; overflow-wrap: anywhere; }
p.good, p.bad { padding: .6rem .9rem; border-left: 3px solid; border-radius: 0 6px 6px 0; }
p.good { border-color: var(--good); background: var(--good-wash); }
p.bad { border-color: var(--bad); background: var(--bad-wash); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: 1px;
  border: 1px solid var(--line); border-radius: 10px; overflow: hidden;
  margin-top: 1.8rem; }
.figure { box-shadow: 0 0 0 1px var(--line); padding: .9rem 1.1rem; }
.figure .label, .figure .detail { font-size: .8rem; color: var(--quiet); overflow-wrap: anywhere; }
.figure .value { font-size: 1.45rem; font-weight: 650; line-height: 1.3;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.figure .value.long { font-size: 1.05rem; line-height: 1.85; }
.figure.good .value { color: var(--good); }
.figure.bad .value { color: var(--bad); }
table.narrow { width: auto; min-width: min(30rem, 100%); }
.scroll { overflow-x: auto; margin: 1.2rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .89rem; line-height: 1.4; }
th { text-align: left; font-weight: 600; color: var(--quiet); border-bottom: 1px solid var(--line);
  padding: .4rem .8rem .4rem 0; vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); padding: .42rem .8rem .42rem 0; vertical-align: top; }
td:first-child:not(:last-child) { white-space: nowrap; }
td.wide { min-width: 14rem; color: var(--quiet); font-size: .84rem; overflow-wrap: anywhere; }
th.right, td.right { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.strong td { font-weight: 650; }
tr.strong td.wide { font-weight: 400; }
td.code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: .82rem; overflow-wrap: anywhere; }
caption { caption-side: bottom; text-align: left; color: var(--quiet); font-size: .82rem;
  padding-top: .6rem; }
img { display: block; max-width: 100%; height: auto; border-radius: 8px; margin: 1.2rem 0; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 4;
  font: .84rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono",
    "Noto Sans Mono CJK SC", monospace; }
pre.code { background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
  padding: .8rem 1rem; margin: .8rem 0; }
.card { border: 1px solid var(--line); border-radius: 10px; margin: 1.2rem 0; overflow: hidden; }
.card .top { background: var(--panel); padding: .7rem 1rem; max-height: 16rem; overflow: auto; }
.row { display: grid; grid-template-columns: 7rem 1fr; gap: 1rem; padding: .6rem 1rem;
  border-top: 1px solid var(--line); }
.row .who { color: var(--quiet); font-size: .84rem; padding-top: .05rem; }
.kind { font-size: .8rem; color: var(--quiet); margin-bottom: .3rem; }
.right-answer .who { color: var(--good); font-weight: 650; }
.wrong-answer .who { color: var(--bad); }
svg { display: block; width: 100%; height: auto; font-family: inherit; }
.drawing { margin: 1.2rem 0; } .drawing.narrow { display: none; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(16.5rem, 1fr)); gap: 1px;
  border: 1px solid var(--line); border-radius: 10px; overflow: hidden; margin: 1.2rem 0; }
.grid figure { margin: 0; padding: .8rem .9rem .6rem; box-shadow: 0 0 0 1px var(--line); }
svg text { fill: var(--quiet); font-size: 11px; font-variant-numeric: tabular-nums; }
svg text.ink { fill: var(--ink); } svg text.strong { fill: var(--ink); font-weight: 650; }
svg text.bad { fill: var(--bad); } svg text.big { font-size: 13px; }
svg .line { stroke: var(--line); } svg .kept { fill: var(--accent); }
svg .gone { fill: var(--second); } svg .good { fill: var(--good); }
svg .wash { fill: var(--bad-wash); } svg .soft { opacity: .42; }
svg .limit { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .hit { fill: transparent; } svg .hit:hover { fill: var(--ink); opacity: .08; }
table.shares th.right { white-space: normal; min-width: 4.2rem; }
table.shares :is(th, td) { padding-left: .45rem; }
table.shares :is(th, td):first-child { padding-left: 0; }
table.shares th:first-child, table.shares td:first-child { position: sticky; left: 0; z-index: 1;
  background: var(--paper); }
tr.group th { padding-top: 1.1rem; color: var(--ink); }
td.share { background: color-mix(in srgb, var(--second) calc(var(--share) * 75%), transparent); }
td.share.best { background: color-mix(in srgb, var(--good) calc(var(--share) * 38%), transparent); }
details { border: 1px solid var(--line); border-radius: 8px; margin: .35rem 0; overflow: hidden; }
summary { cursor: pointer; padding: .6rem 1rem; display: flex; gap: 1rem; flex-wrap: wrap;
  justify-content: space-between; background: var(--panel); font-size: .92rem; }
summary::before { content: "▸"; color: var(--quiet); }
details[open] > summary::before { content: "▾"; }
summary .what { flex: 1; font-weight: 600; overflow-wrap: anywhere; }
summary .detail { color: var(--quiet); font-variant-numeric: tabular-nums; }
details > .inside { padding: .1rem 1rem .6rem; }
.excerpt { border-top: 1px solid var(--line); padding: .8rem 0; }
.excerpt:first-child { border-top: 0; }
.excerpt .title { font-weight: 600; font-size: .9rem; overflow-wrap: anywhere; }
.excerpt .facts { color: var(--quiet); font-size: .8rem; margin: .1rem 0 .5rem; }
.excerpt .verdict { font-size: .82rem; margin: .1rem 0 .5rem; overflow-wrap: anywhere; }
.excerpt .verdict.bad { color: var(--bad); } .excerpt .verdict.good { color: var(--good); }
.excerpt pre { max-height: 15rem; overflow: auto; font: .86rem/1.5 inherit; font-family: inherit; }
.marked mark { background: color-mix(in srgb, var(--good) 22%, transparent); color: inherit; }
.marked .special { color: var(--quiet); font-size: .8em; }
p.origin { color: var(--quiet); font-size: .82rem; }
p.origin a { color: var(--accent); text-decoration: none; } p.origin a:hover {
  text-decoration: underline; }
pre:target { outline: 2px solid var(--accent); }
@media (max-width: 34rem) { .row { grid-template-columns: 1fr; gap: .2rem; }
  main { padding: 2rem 1rem 3rem; } h1 { font-size: 1.6rem; } section { margin-top: 2.4rem; } }
@media (max-width: 42rem) { .drawing.wide { display: none; } .drawing.narrow { display: block; } }
@media print { nav { display: none; } section { break-inside: avoid-page; } }
"""

PAGE = (
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ title|visible }}</title>
<style>"""
    + STYLE
    + """</style>
</head>
<body>
<main>
<header>
<h1>{{ title|visible }}</h1>
<p class="subtitle">{{ subtitle|visible }}</p>
</header>
{% for section in sections %}
{% if loop.first and not section.title %}
{% for block in section.blocks %}{{ draw(block) }}{% endfor %}
{% endif %}
{% endfor %}
<nav>
{% for section in sections if section.title %}
<a href="#{{ section.anchor }}">{{ section.title|visible }}</a>
{% endfor %}
</nav>
{% for section in sections if section.title %}
<section id="{{ section.anchor }}">
<h2>{{ section.title|visible }}</h2>
{% for block in section.blocks %}
{{ draw(block) }}
{% endfor %}
</section>
{% endfor %}
</main>
</body>
</html>
"""
)

MACROS = """
{% macro draw(block) %}
{% set kind = block|kind %}
{% if kind == "Text" %}
<p class="{{ block.tone }}">{{ block.text|visible }}</p>
{% elif kind == "Figures" %}
<div class="figures">
{% for figure in block.figures %}
<div class="figure {{ figure.tone }}"><div class="label">{{ figure.label|visible }}</div>
<div class="value{{ ' long' if figure.value|length > 10 }}">{{ figure.value|visible }}</div>
<div class="detail">{{ figure.detail|visible }}</div></div>
{% endfor %}
</div>
{% elif kind == "Table" %}
<div class="scroll">
<table{% if block.columns|length < 4 and not block.code %} class="narrow"{% endif %}>
{% if block.caption %}<caption>{{ block.caption|visible }}</caption>{% endif %}
{% if block.columns|select|list %}
<thead><tr>{% for name in block.columns %}
<th{% if loop.index0 in block.right %} class="right"{% endif %}>{{ name|visible }}</th>
{% endfor %}</tr></thead>
{% endif %}
<tbody>
{% for row in block.rows %}
<tr{% if loop.index0 in block.strong %} class="strong"{% endif %}>
{% for cell in row %}
<td class="{{ 'right' if loop.index0 in block.right }}{{ 'code' if loop.index0 in block.code }}
{{- ' wide' if block.columns[loop.index0] == 'note' }}">{{ cell|visible }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
{% elif kind == "Picture" %}
<picture><source media="(prefers-color-scheme: dark)" srcset="{{ block.dark|data_uri }}">
<img src="{{ block.light|data_uri }}" alt="{{ block.description|visible }}"></picture>
{% elif kind == "Code" %}
<pre class="code">{{ block.text|visible }}</pre>
{% elif kind == "Continuations" %}
<div class="card">
<div class="top"><div class="kind">prompt</div><pre>{{ block.prompt|visible }}</pre></div>
{% for label, text in block.entries %}
<div class="row"><div class="who">{{ label|visible }}</div><pre>{{ text|visible }}</pre></div>
{% endfor %}
</div>
{% elif kind == "Question" %}
<div class="card">
<div class="top"><div class="kind">{{ block.kind|visible }}</div>
<pre>{{ block.prompt|visible }}</pre></div>
<div class="row"><div class="who">expected</div><pre>{{ block.expected|visible }}</pre></div>
{% for answer in block.answers %}
<div class="row {{ 'right-answer' if answer.correct else 'wrong-answer' }}">
<div class="who">{{ '✓' if answer.correct else '✗' }} {{ answer.who|visible }}</div>
<pre>{{ answer.text|visible }}</pre></div>
{% endfor %}
</div>
{% elif kind == "Drawing" %}
<div class="drawing{{ ' wide' if block.narrow }}">{{ block.svg }}</div>
{% if block.narrow %}<div class="drawing narrow">{{ block.narrow }}</div>{% endif %}
{% elif kind == "Grid" %}
<div class="grid">
{% for drawing in block.drawings %}<figure>{{ drawing.svg }}</figure>
{% endfor %}
</div>
{% elif kind == "Shares" %}
<div class="scroll"><table class="shares">
{% if block.caption %}<caption>{{ block.caption|visible }}</caption>{% endif %}
<thead><tr>{% for name in block.columns %}
<th{% if not loop.first and not loop.index0 in block.left %} class="right"{% endif %}>
{{- name|visible }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in block.rows %}
{% set shares = block.shares[loop.index0] %}
{% if not row[1:]|select|list %}
<tr class="group"><th colspan="{{ row|length }}">{{ row[0]|visible }}</th></tr>
{% else %}
<tr>{% for cell in row %}
{% set share = shares[loop.index0] %}
{% if loop.first or loop.index0 in block.left %}<td>{{ cell|visible }}</td>
{% elif share is none %}<td class="right">{{ cell|visible }}</td>
{% else %}<td class="right share{{ ' best' if block.columns[loop.index0].startswith('kept') }}"
 style="--share: {{ '%.3f'|format(share) }}">{{ cell|visible }}</td>{% endif %}
{% endfor %}</tr>
{% endif %}
{% endfor %}
</tbody></table></div>
{% elif kind == "Excerpt" %}
<div class="excerpt"><div class="title">{{ block.title|visible }}</div>
<div class="facts">{{ block.facts|visible }}</div>
{% if block.verdict %}
<div class="verdict {{ block.tone }}">{{ block.verdict|visible }}</div>{% endif %}
<pre dir="auto">{{ block.text|visible }}</pre></div>
{% elif kind == "Marked" %}
<div class="excerpt"><div class="title">{{ block.title|visible }}</div>
<div class="facts">{{ block.facts|visible }}</div>
<pre dir="auto" class="marked">{% for piece in block.pieces -%}
{%- if piece.trained %}<mark>{% endif -%}
<span{% if piece.special %} class="special"{% endif %}>{{ piece.text|visible }}</span>
{%- if piece.trained %}</mark>{% endif -%}
{%- endfor %}</pre></div>
{% elif kind == "Origin" %}
<p class="origin">from {% for reference in block.references %}
<a href="#{{ reference|anchor }}">{{ reference|visible }}</a>{{ ', ' if not loop.last }}
{%- endfor %}</p>
{% elif kind == "Document" %}
<pre class="code" id="{{ block.anchor }}">{{ block.text|visible }}</pre>
{% elif kind == "Fold" %}
<details{% if block.is_open %} open{% endif %}><summary><span class="what">
{{- block.summary|visible }}</span><span class="detail">{{ block.detail|visible }}</span></summary>
<div class="inside">{% for inner in block.blocks %}{{ draw(inner) }}{% endfor %}</div></details>
{% endif %}
{% endmacro %}
"""
