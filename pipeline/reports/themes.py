"""Colours of the pictures, on light and on dark pages."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """Colours of a picture."""

    paper: str
    ink: str
    quiet: str
    grid: str
    accent: str
    second: str
    good: str
    bad: str


LIGHT = Theme(
    "#ffffff", "#1f2328", "#6e7781", "#e4e8ec", "#0b6e99", "#b4540a", "#1a7f4b", "#b42318"
)
DARK = Theme("#15181c", "#e6e8ea", "#98a1aa", "#2b3036", "#58b6dd", "#e8985a", "#5cc98c", "#f0786c")
