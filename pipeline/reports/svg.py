"""Pictures as SVG inside a page: sharp at any size, in the page's colours, light or dark.

Every text and attribute passes through `node`, which escapes it; nothing else makes markup.
"""

from markupsafe import Markup, escape

from pipeline.reports.blocks import visible

Value = str | float | int | None


def node(tag: str, *children: Markup | str, **attributes: Value) -> Markup:
    """One element; a trailing underscore of an attribute's name goes, inner ones become dashes."""
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _plain(value))
        for name, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(
        child if isinstance(child, Markup) else escape(visible(child)) for child in children
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), written, inner)


def picture(width: float, height: float, *children: Markup, label: str) -> Markup:
    """The whole drawing, scaled to the width there is; `label` is for those who cannot see it."""
    return node(
        "svg", *children, viewBox=f"0 0 {_plain(width)} {_plain(height)}", role="img",
        aria_label=label, xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip


def box(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    """A filled rectangle of one of the style sheet's classes."""
    return node(
        "rect", x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), class_=kind, rx=1.5
    )


def hint(x: float, y: float, width: float, height: float, text: str) -> Markup:
    """An invisible rectangle that says something when pointed at."""
    return node("rect", node("title", text), x=x, y=y, width=width, height=height, class_="hit")


def words(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> Markup:
    """Text whose baseline is at `y`."""
    return node("text", text, x=x, y=y, class_=kind or None, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return node("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _plain(value: Value) -> str:
    """At most two decimals: the same numbers give the same bytes."""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return visible(str(value))
