"""What holds for the whole tree: floors, sizes, safety, and that it stands alone."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2]
CODE = sorted(p for floor in ("flows", "pipeline", "model") for p in (HERE / floor).rglob("*.py"))


def tracked() -> list[Path]:
    """What git knows; without git, or in an unpacked archive, nothing."""
    if shutil.which("git") is None:
        return []
    listed = subprocess.run(
        ["git", "-C", str(HERE), "ls-files"], capture_output=True, text=True, check=False
    ).stdout
    return [HERE / name for name in listed.splitlines()]


TRACKED = tracked()
LONG_FOR_A_REASON: dict[str, str] = {}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_function_is_annotated():
    bare = []
    for path in CODE:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                missing = [
                    a.arg
                    for a in arguments
                    if a.annotation is None and a.arg not in ("self", "cls")
                ]
                if node.returns is None or missing:
                    bare.append(f"{path.relative_to(HERE)}:{node.lineno} {node.name}")
    assert bare == []


def test_files_are_short():
    sizes = {p: p.read_text(encoding="utf-8").count("\n") for p in CODE}
    over = {str(p.relative_to(HERE)): n for p, n in sizes.items() if n > 400}
    assert set(over) == set(LONG_FOR_A_REASON)
    assert sorted(sizes.values())[len(sizes) // 2] <= 150


def test_environment_is_read_in_flows_and_the_training_entry_only():
    allowed = HERE / "pipeline" / "training" / "__main__.py"
    readers = [
        str(path.relative_to(HERE))
        for path in CODE
        if "flows" != path.relative_to(HERE).parts[0]
        and path != allowed
        and re.search(r"os\.environ|os\.getenv", path.read_text(encoding="utf-8"))
    ]
    assert readers == []


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("pipeline.corpus.cleaning", {"torch", "prefect", "mlflow", "datasets"}),
        ("pipeline.corpus.reading", {"torch", "prefect", "mlflow"}),
        ("pipeline.tokens.tokenizer", {"torch", "prefect", "mlflow", "datasets"}),
        ("pipeline.tokens.shards", {"torch", "prefect", "mlflow", "datasets", "pydantic"}),
        ("pipeline.tokens.batches", {"torch", "prefect", "mlflow", "datasets", "pydantic"}),
        ("pipeline.training.loop", {"prefect", "mlflow", "datasets", "pydantic", "typer"}),
        ("pipeline.tracking.journal", {"torch", "prefect", "mlflow", "datasets", "pydantic"}),
        ("flows.cli", {"torch", "prefect", "mlflow", "datasets", "pydantic", "pyarrow"}),
    ],
)
def test_worker_module_stays_light(module, banned):
    code = f"import sys, {module}; print(' '.join(sorted(set(sys.modules) & {banned!r})))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


def imported_modules(path: Path) -> set[str]:
    """The modules of this project that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            as_module = {f"{node.module}.{alias.name}" for alias in node.names}
            inner = {name for name in as_module if name in MODULES}
            found |= inner or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MODULES}


def module_name(path: Path) -> str:
    parts = path.relative_to(HERE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in CODE}


def room(module: str) -> str:
    """`pipeline.corpus.filters.length` is in the room `pipeline.corpus`."""
    return ".".join(module.split(".")[:2])


def in_cycles(graph: dict[str, set[str]]) -> list[str]:
    def reaches(start: str, goal: str, seen: set[str]) -> bool:
        for following in graph.get(start, set()) - seen:
            seen.add(following)
            if following == goal or reaches(following, goal, seen):
                return True
        return False

    return [node for node in graph if reaches(node, node, set())]


def test_modules_have_no_import_cycles():
    assert in_cycles({name: imported_modules(path) for name, path in MODULES.items()}) == []


def test_rooms_have_no_import_cycles():
    graph: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        graph.setdefault(room(name), set()).update(
            room(other) for other in imported_modules(path) if room(other) != room(name)
        )
    assert in_cycles(graph) == []


def test_lock_file_is_a_plain_constraints_file():
    lines = [
        line
        for line in (HERE / "requirements.lock").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    pattern = re.compile(r"^[A-Za-z0-9._-]+==[A-Za-z0-9.!]+( ?;.+)?$")
    assert [line for line in lines if not pattern.match(line)] == []
    assert "torch==2.13.0" in lines
    assert not any(line.lower().startswith("nvidia") for line in lines)


def test_tree_names_no_machine():
    private = re.compile(
        r"\.\./shared|(?<![\w.])/(?:root|home/(?!me/)\w+)/|https?://[^\s/]*(?:mirror|proxy)"
    )
    if not TRACKED:
        pytest.skip("needs git and a checkout: built files may name the machine")
    found = []
    for path in TRACKED:
        if (
            path.suffix in (".py", ".md", ".toml", ".yaml", ".yml", ".lock", ".sh")
            and path.is_file()
        ):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if private.search(line) and path != Path(__file__).resolve():
                    found.append(f"{path.relative_to(HERE)}:{number}")
    assert found == []
