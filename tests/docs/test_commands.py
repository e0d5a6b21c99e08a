"""What the pages tell you to type exists: commands of `mill`, their options, settings, links."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import pytest
import typer
from pydantic import BaseModel
from typer.core import TyperGroup, TyperOption

from flows.cli import app
from pipeline.config import RunConfig
from tests.docs.pages import HERE, text

PAGES = [
    "README.md", "SECURITY.md", "CHANGELOG.md",
    *sorted(path.relative_to(HERE).as_posix() for path in (HERE / "docs").glob("*.md")),
]  # fmt: skip
FILES = (".arrow", ".json", ".jsonl", ".py", ".tiktoken", ".yaml")  # of the same look
FILTERS_BY_KIND = "clean.steps."  # `clean.steps.length.min_words`, as rejudge names them


def code_of(page: str) -> Iterator[str]:
    """Lines of fenced blocks, then what stands in backticks elsewhere."""
    content = text(page)
    for block in re.findall(r"^```\w*\n(.*?)^```", content, re.M | re.S):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", content, flags=re.M | re.S))


def commands_of(page: str) -> list[str]:
    """Everything behind `mill` on the page, up to a comment, a pipe or the next command."""
    lines = (re.sub(r"\s#\s.*", "", line) for line in code_of(page))
    found = [re.findall(r"(?:^|[\s;&(])mill ((?:[^;&|\"']|\"[^\"]*\"|'[^']*')+)", x) for x in lines]
    return [command for some in found for command in some]


def fault(words: str) -> str | None:
    """What is wrong with `words` as arguments of `mill`."""
    command: Any = typer.main.get_command(app)
    rest = re.sub(r"\"[^\"]*\"|'[^']*'", "", words).split()
    while rest and isinstance(command, TyperGroup):
        name = rest.pop(0)
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    options = [p for p in command.params if isinstance(p, TyperOption)]
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    unknown = given - known - {"--help", "-h", "--debug"}
    return f"no option {', '.join(sorted(unknown))}" if unknown else None


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_options_exist(page: str) -> None:
    faults = {words: fault(words) for words in commands_of(page)}
    assert {words: why for words, why in faults.items() if why is not None} == {}


def test_wrong_commands_and_options_are_found() -> None:
    assert fault("run my.yaml pretrain.seed=7 --only clean --no-prefect") is None
    assert fault("train my.yaml") == "no command train"
    assert fault("store sweep") == "no command sweep"
    assert fault("run my.yaml --fast") == "no option --fast"
    assert len(commands_of("README.md")) > 12


def fields_of(kind: type) -> dict[str, Any] | None:
    """The settings of a section, or None of what is none."""
    if issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if is_dataclass(kind) and kind.__module__.split(".")[0] in ("model", "pipeline"):
        hints = get_type_hints(kind)
        return {field.name: hints[field.name] for field in fields(kind)}
    return None


def sections_in(annotation: object) -> list[dict[str, Any]]:
    """The settings of every section that `annotation` allows."""
    if isinstance(annotation, type) and (own := fields_of(annotation)) is not None:
        return [own]
    return [section for part in get_args(annotation) for section in sections_in(part)]


def unknown_setting(name: str) -> bool:
    """Whether no section of a run has a setting of this dotted name."""
    places = [fields_of(RunConfig) or {}]
    for key in name.split("."):
        if key.isdigit():
            continue
        found = [place[key] for place in places if key in place]
        if not found:
            return True
        places = [section for one in found for section in sections_in(one)] or places
    return False


@pytest.mark.parametrize("page", PAGES)
def test_settings_exist(page: str) -> None:
    first = "|".join(RunConfig.model_fields)
    pattern = rf"(?<![\w./@-])((?:{first})(?:\.[a-z_0-9]+)+)(?![\w/(@*])"
    named = {name for line in code_of(page) for name in re.findall(pattern, line)}
    named = {n for n in named if not n.startswith(FILTERS_BY_KIND) and not n.endswith(FILES)}
    assert sorted(name for name in named if unknown_setting(name)) == []


def test_a_misspelt_setting_is_found() -> None:
    assert not unknown_setting("pretrain.optimizer.learning_rate")
    assert not unknown_setting("clean.sources.0.paths")
    assert unknown_setting("pretrain.learning_rate")
    assert unknown_setting("finetune.optimiser.kind")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text(page))
    targets = [target for target in found if "://" not in target]
    broken = [target for target in targets if not ((HERE / page).parent / target).exists()]
    assert broken == []


def test_links_to_sections_meet_a_heading() -> None:
    broken = []
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", text(page)):
            other = ((HERE / page).parent / target).resolve() if target else HERE / page
            if "://" in target or other.suffix != ".md":
                continue
            titles = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
            if anchor not in slugs:
                broken.append(f"{page}: {target}#{anchor}")
    assert broken == []
