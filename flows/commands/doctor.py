"""`mill doctor`: what is right, what could be better, what to fix."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from flows.doctor import examine
from pipeline.store.errors import ConfigError
from pipeline.store.secrets import redacted

_MARKS = {"ok": "[green]ok     [/]", "note": "[yellow]note   [/]", "problem": "[red]problem[/]"}


def report_health(root: Path, *, uri: str | None) -> None:
    """Print the findings as they come; ConfigError if there is a problem among them."""
    console = Console(highlight=False, soft_wrap=True)
    problems = 0
    for finding in examine(root.expanduser().absolute(), tracking_uri=uri):
        problems += finding.level == "problem"
        console.print(
            f"{_MARKS[finding.level]}  {escape(finding.what):<16} {escape(redacted(finding.found))}"
        )
        if finding.remedy:
            console.print(f"{'':<26}[dim]-> {escape(redacted(finding.remedy))}[/]")
    if problems:
        raise ConfigError(
            f"{problems} problem{'s' if problems > 1 else ''} found; what to do stands above"
        )
    console.print("nothing needs to be fixed")
