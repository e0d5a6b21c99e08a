"""Nothing in the tree can be talked into running code: no pickle, eval, shell or foreign code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.store import settings_file

HERE = Path(__file__).resolve().parents[2]
CODE = sorted(
    path
    for floor in ("flows", "pipeline", "model", "examples")
    for path in (HERE / floor).rglob("*.py")
)
MODULES = frozenset(
    {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
)
CALLS = frozenset(
    {
        "eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "torch.hub.load",
        "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system",
        "os.popen", "os.execv", "os.execve", "pd.read_pickle", "pandas.read_pickle",
        "shutil.unpack_archive", "tarfile.open", "zipfile.ZipFile",
    }
)  # fmt: skip
ALLOWED = {
    "pipeline/store/settings_file.py": {"yaml.load"},  # with a SafeLoader, tested below
}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def dangers(source: str) -> Iterator[str]:
    """What in a piece of source may run what a file or a person says."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from (name for name in names if name.partition(".")[0] in MODULES)
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name in CALLS or name.partition(".")[0] in MODULES:
            yield name
        for keyword in node.keywords:
            value = keyword.value
            is_true = isinstance(value, ast.Constant) and value.value is True
            if keyword.arg in ("shell", "trust_remote_code", "allow_pickle") and is_true:
                yield f"{keyword.arg}=True"


def test_nothing_in_the_tree_runs_what_it_reads() -> None:
    found = {
        str(path.relative_to(HERE)): set(dangers(path.read_text(encoding="utf-8"))) for path in CODE
    }
    assert len(found) > 300
    assert {name: what for name, what in found.items() if what - ALLOWED.get(name, set())} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(p, weights_only=True)",
        "eval(text)",
        "subprocess.run(command, shell=True)",
        "np.load(p, allow_pickle=True)",
        "AutoModel.from_pretrained(p, trust_remote_code=True)",
        "yaml.load(text, Loader=Loader)",
    ],
)
def test_the_search_finds_what_it_looks_for(line: str) -> None:
    assert list(dangers(line))


def test_settings_are_read_by_a_safe_loader() -> None:
    loader = settings_file._Loader
    assert issubclass(loader, yaml.SafeLoader)
    assert set(loader.yaml_constructors) <= set(yaml.SafeLoader.yaml_constructors)
    assert not set(loader.yaml_multi_constructors) - set(yaml.SafeLoader.yaml_multi_constructors)
