"""The embedded default: the documentation of the Python that runs this, read from source files.

    standard library + pydoc topics + installed packages -> files -> units of equal size -> pages

Nothing is imported or executed. Files are found by `sysconfig` and `importlib.metadata`; identity
is the content of each file.
"""

import ast
import gc
import os
import re
import sys
import sysconfig
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.corpus.sources.arrow_writer import ArrowWriter
from pipeline.corpus.sources.docstrings import OBJECT_SCHEMA, Page, document_module
from pipeline.corpus.sources.inputs import InputFile, InputUnit
from pipeline.corpus.sources.part import PartWriter
from pipeline.corpus.sources.unit import Source
from pipeline.store.errors import DataError

# Installed with this project by its lock file; one that is absent is left out.
DEFAULT_PACKAGES = (
    "aiohttp", "alembic", "anyio", "click", "cryptography", "datasets", "fastapi", "filelock",
    "flask", "fsspec", "ftfy", "graphene", "httpx", "huggingface_hub", "jinja2", "joblib",
    "jsonschema", "llvmlite", "markdown_it", "matplotlib", "mlflow", "mpmath", "multidict",
    "networkx", "numba", "numpy", "opentelemetry", "packaging", "pandas", "pendulum", "PIL",
    "prefect", "psutil", "pyarrow", "pydantic", "pydantic_settings", "pygments", "pyparsing",
    "requests", "rich", "safetensors", "scipy", "sklearn", "sqlalchemy", "starlette", "sympy",
    "tiktoken", "tokenizers", "torch", "tqdm", "transformers", "typer", "typing_extensions",
    "urllib3", "uvicorn", "websockets", "werkzeug", "yaml", "yarl",
)  # fmt: skip
SKIPPED_DIRECTORIES = frozenset(
    "__pycache__ test tests testing _vendor vendor vendored _vendored third_party externals "
    "node_modules site-packages dist-packages lib2to3 idlelib turtledemo ensurepip pydoc_data "
    "__phello__".split()
)
# Large and internal: hardly any documentation that people look up.
SKIPPED_INTERNALS = frozenset(
    "_dynamo _export _functorch _higher_order_ops _incubating _inductor _internal "
    "_migrations".split()
)
SKIPPED = SKIPPED_DIRECTORIES | SKIPPED_INTERNALS
# Generated: protocol buffers, and transformers' model files (a fifth of all source bytes, one class
# docstring in many variations; the configurations beside them describe the models).
SKIPPED_MODULES = re.compile(
    r"transformers\.models\..*\.(modeling|modular)_|.*_pb2(_grpc)?$|(.*\.)?(test_|conftest)"
)
MODULE_ALIASES = {"posixpath": "os.path"}  # the name people import it by
UNIT_BYTES = 6 << 20  # source bytes per part: about 1 s of parsing, enough parts to balance
MAX_FILE_BYTES = 4 << 20  # generated tables, not prose


class PydocsSource(Source):
    """Docstrings with signatures, one document per module: `python/os.path`, `torch/torch.nn`."""

    kind: Literal["pydocs"] = "pydocs"
    name: str = Field("pydocs", title="Name", description="Name of the source in the corpus.",
                      pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")  # fmt: skip
    standard_library: bool = Field(
        True, title="Standard library", description="Read the standard library's modules."
    )
    topics: bool = Field(True, title="Topics", description="Read the language topics of `help()`.")
    packages: tuple[str, ...] = Field(
        DEFAULT_PACKAGES,
        title="Packages",
        description="Import names of installed packages; absent ones are left out.",
    )
    search_paths: tuple[str, ...] = Field(
        (),
        title="Search paths",
        description="Directories searched for the packages before the environment's own.",
    )

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """What to read is in the units; a part does not depend on the other packages."""
        chosen = {"standard_library", "topics", "packages", "search_paths"}
        return super().not_identity() | chosen

    def identity(self) -> dict[str, object]:
        """Also the Python version, whose `ast.unparse` writes the signatures."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return {**super().identity(), "python": version}

    def units(self, root: Path) -> list[InputUnit]:
        """`python-1`, `python-2`, `topics`, `torch-1`...: at most UNIT_BYTES of source each."""
        units: list[InputUnit] = []
        library = Path(sysconfig.get_path("stdlib"))
        if self.standard_library:
            units += _split("python", _library_files(library))
        if self.topics:
            path = library / "pydoc_data" / "topics.py"
            if path.is_file():
                units.append(InputUnit("topics", (InputFile(str(path), "topics"),)))
        for package in self.packages:
            units += _split(package, _package_files(package, self.search_paths))
        if not units:
            raise DataError(
                f"source {self.name!r}: none of its packages is installed "
                f"({', '.join(self.packages[:5])}...) and no Python sources are at {library}; "
                "turn on standard_library or name installed packages"
            )
        return units

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every module of the unit."""
        parse_pydocs(unit, writer)


def parse_pydocs(unit: InputUnit, writer: PartWriter) -> None:
    """Read one unit of modules, or the topics; also writes `objects.arrow`."""
    objects = ArrowWriter(writer.directory / "objects.arrow", OBJECT_SCHEMA)
    complete = False
    try:
        with _quick_parsing():
            for file in unit.files:
                if unit.name == "topics":
                    _add_topics(file, writer)
                else:
                    _add_module(file, writer, objects)
        complete = True
    finally:
        objects.close(complete=complete)


def _add_module(file: InputFile, writer: PartWriter, objects: ArrowWriter) -> None:
    data = Path(file.path).read_bytes()
    if len(data) > MAX_FILE_BYTES:
        writer.counts["modules_too_large"] += 1
        return
    # No docstring of more than a line is written in single quotes: such files are not parsed.
    if b'"""' not in data and b"'''" not in data:
        writer.counts["modules_without_text"] += 1
        return
    package, _, module = file.name.partition("/")
    try:
        page = document_module(_decoded(data), module)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        writer.quarantine(file.name, _line_of(error), "not_python", str(error))
        return
    if page is None:
        writer.counts["modules_without_text"] += 1
        return
    doc_id = writer.add(
        page.text, doc_id=file.name, metadata={"package": package, "file": file.name, "row": 0}
    )
    _add_objects(page, doc_id, writer, objects)


def _add_objects(page: Page, doc_id: str, writer: PartWriter, objects: ArrowWriter) -> None:
    for item in page.objects:
        row = (
            item.qualified_name, doc_id, item.kind, item.name, item.signature,
            list(item.parameters), item.docstring, item.summary,
        )  # fmt: skip
        try:
            size = len(item.docstring.encode("utf-8")) + len(item.signature.encode("utf-8"))
        except UnicodeEncodeError:  # a docstring about surrogates; repaired in the page
            writer.counts["objects_left_out"] += 1
            continue
        objects.add(row, num_bytes=size)
        writer.counts["objects"] += 1


def _add_topics(file: InputFile, writer: PartWriter) -> None:
    """`topics = {'assert': 'The "assert" statement...', ...}` becomes one document per entry."""
    tree = ast.parse(Path(file.path).read_bytes())
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                name, text = (ast.literal_eval(part) if part else None for part in (key, value))
                if isinstance(name, str) and isinstance(text, str):
                    doc_id = f"topics/{name}"
                    place = {
                        "package": "topics",
                        "file": file.name,
                        "row": key.lineno if key else 0,
                    }
                    writer.add(text, doc_id=doc_id, metadata=place)


def _decoded(data: bytes) -> str:
    """Source text by its own coding declaration (PEP 263)."""
    encoding, _ = tokenize.detect_encoding(BytesIO(data).readline)
    return data.decode(encoding).replace("\r\n", "\n")


def _line_of(error: BaseException) -> str:
    line = error.lineno if isinstance(error, SyntaxError) else None
    return f"line {line}" if line else "file"


@contextmanager
def _quick_parsing() -> Iterator[None]:
    """No warnings about other people's escapes; no garbage collection over acyclic trees."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if enabled:
            gc.enable()


def _library_files(library: Path) -> list[InputFile]:
    files = list(_module_files(library, prefix="", package="python"))
    names = {file.name for file in files}
    for plain, alias in MODULE_ALIASES.items():
        if f"python/{plain}" in names:
            files = [
                InputFile(f.path, f"python/{alias}") if f.name == f"python/{plain}" else f
                for f in files
            ]
    return sorted(files, key=_place)


def _place(file: InputFile) -> tuple[str, str]:
    """By name; `a.py` beside `a/` has the same one, and a directory lists them in any order."""
    return file.name, file.path


def _package_files(package: str, search_paths: Iterable[str]) -> list[InputFile]:
    """The package's modules, or [] when it is not installed."""
    for base in _bases(package, search_paths):
        directory, single = base / package, base / f"{package}.py"
        if directory.is_dir():
            return sorted(_module_files(directory, prefix=package, package=package), key=_place)
        if single.is_file():
            return [InputFile(str(single), f"{package}/{package}")]
    return []


def _bases(package: str, search_paths: Iterable[str]) -> Iterator[Path]:
    yield from (Path(path).expanduser() for path in search_paths)
    yield Path(sysconfig.get_path("purelib"))
    yield Path(sysconfig.get_path("platlib"))
    try:
        yield Path(str(metadata.distribution(package).locate_file("")))
    except metadata.PackageNotFoundError:
        return


def _module_files(directory: str | Path, *, prefix: str, package: str) -> Iterator[InputFile]:
    """`package/dotted.module` for every `.py` file below `directory`; private parts included."""
    with os.scandir(directory) as entries:
        found = list(entries)
    for entry in found:
        name = entry.name
        if entry.is_dir():
            if name not in SKIPPED and name.isidentifier():
                inner = f"{prefix}.{name}" if prefix else name
                yield from _module_files(entry.path, prefix=inner, package=package)
        elif name.endswith(".py"):
            stem = name[:-3]
            inner = f"{prefix}.{stem}" if prefix else stem
            module = prefix if stem == "__init__" else inner
            if module and stem.isidentifier() and not SKIPPED_MODULES.match(module):
                yield InputFile(entry.path, f"{package}/{module}")


def _split(name: str, files: list[InputFile]) -> list[InputUnit]:
    """Runs of neighbouring modules of about UNIT_BYTES: `name`, or `name-1`, `name-2`..."""
    runs: list[list[InputFile]] = []
    held = UNIT_BYTES
    for file in files:
        if held >= UNIT_BYTES:
            runs.append([])
            held = 0
        runs[-1].append(file)
        held += os.stat(file.path).st_size
    if len(runs) == 1:
        return [InputUnit(name, tuple(runs[0]))]
    return [InputUnit(f"{name}-{i}", tuple(run)) for i, run in enumerate(runs, start=1)]
