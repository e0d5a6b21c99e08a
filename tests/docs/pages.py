"""Reading the project's own documents and sources, for the tests that hold them together."""

import ast
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
FLOORS = ("flows", "pipeline", "model")


def text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def defined(path: Path) -> set[str]:
    """Functions and classes at the top of a file, and `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            members = [n for n in node.body if isinstance(n, ast.FunctionDef)]
            names |= {f"{node.name}.{member.name}" for member in members}
    return names


@dataclass(frozen=True)
class Concept:
    section: str
    name: str
    where: str
    held_by: str


def concepts() -> list[Concept]:
    found, section = [], ""
    for line in text("docs/concepts.md").splitlines():
        if line.startswith("## "):
            section = line[3:]
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("|") and not line.startswith(("| concept", "|---")):
            assert len(cells) == 3, line
            found.append(Concept(section, *cells))
    return found


def missing(cell: str) -> list[str]:
    """What a cell such as "`path` `name`" names and the tree does not have."""
    spans = re.findall(r"`([^`]+)`", cell)
    path, names = HERE / spans[0], spans[1:]
    if not path.is_file():
        return [spans[0]]
    return [f"{spans[0]} {name}" for name in names if name not in defined(path)]


def tree_files() -> list[str]:
    """Every file of the three floors, also a new one; empty ones are not worth a line."""
    listed: list[str] = []
    if shutil.which("git") is not None:
        listed = subprocess.run(
            ["git", "-C", str(HERE), "ls-files", "--cached", "--others", "--exclude-standard",
             *FLOORS],
            capture_output=True, text=True, check=False,
        ).stdout.splitlines()  # fmt: skip
    found = [HERE / name for name in set(listed)] or [
        path
        for floor in FLOORS
        for path in (HERE / floor).rglob("*")
        if path.suffix in (".py", ".yaml")
    ]
    kept = [path for path in found if path.is_file() and path.stat().st_size]
    return sorted(path.relative_to(HERE).as_posix() for path in kept)


def tour_files() -> list[str]:
    """The files the tour names, in its order: `### folder/` and below it one bullet per file."""
    found, folder = [], ""
    for line in text("docs/tour.md").splitlines():
        if line.startswith("#"):
            folder = line[4:] if line.startswith("### ") else ""
        match = re.match(r"- `([^`]+)`: \S", line)
        if folder and match:
            found.append(folder + match[1])
    return found


def code_blocks(page: str) -> list[tuple[str, list[str]]]:
    """(language, lines) of each fenced block, without comments and the space before them."""
    blocks = re.findall(r"^```([^\n]*)\n(.*?)^```", page, re.M | re.S)
    return [
        (language, [re.sub(r"\s*(?:#.*)?$", "", line) for line in block.rstrip("\n").split("\n")])
        for language, block in blocks
    ]
