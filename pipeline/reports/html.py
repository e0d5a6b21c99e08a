"""A report as one self-contained HTML page: no script, no request, light and dark.

Every string goes through Jinja's autoescaping; pictures are data URIs.
"""

import base64
from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, StrictUndefined, Template

from pipeline.reports.blocks import Section, anchor_of, visible
from pipeline.reports.html_template import MACROS, PAGE


def render_html(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page as text; encode it as UTF-8."""
    page = page_template().render(title=title, subtitle=subtitle, sections=sections)
    return page.lstrip()


@cache
def page_template() -> Template:
    """The compiled page, its filters bound."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = visible
    environment.filters["anchor"] = anchor_of
    environment.filters["data_uri"] = data_uri
    environment.filters["kind"] = lambda block: type(block).__name__
    return environment.from_string(MACROS + PAGE)


def data_uri(png: bytes) -> str:
    """A PNG as a `data:` address."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
