import sys

import pyarrow as pa
import pytest

from pipeline.corpus.sources import pydocs
from pipeline.corpus.sources.pydocs import PydocsSource
from pipeline.store.errors import DataError
from pipeline.store.fingerprint import digest, short


@pytest.fixture
def package(tmp_path):
    """A package that fails when imported, with one broken file and things to skip."""
    base = tmp_path / "site" / "fakepkg"
    files = {
        "__init__.py": '"""Fake package."""\nraise SystemExit("imported")\n',
        "core.py": 'def run(job, *, fast=False):\n    """Run a job."""\n',
        "sub/__init__.py": "",
        "sub/deep.py": 'class Deep:\n    """Deep."""\n    def go(self, far):\n        """Go."""\n',
        "broken.py": '"""Broken."""\ndef (\n',
        "latin.py": '# -*- coding: latin-1 -*-\n"""Caf\xe9."""\n',
        "nothing.py": "x = 1\n",
        "tests/test_core.py": '"""A test."""\n',
        "_vendor/other.py": '"""Vendored."""\n',
        "message_pb2.py": '"""Generated."""\n',
        "stub.pyi": '"""Stub."""\n',
    }
    for name, text in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    return tmp_path / "site"


def fake(package, **settings) -> PydocsSource:
    defaults = {"standard_library": False, "topics": False, "packages": ("fakepkg",)}
    return PydocsSource(
        search_paths=(str(package),), max_bad_fraction=0.5, **{**defaults, **settings}
    )


def objects_of(result):
    rows = []
    for part in result.parts:
        with pa.ipc.open_file(pa.memory_map(str(part.objects_path))) as reader:
            rows += reader.read_all().to_pylist()
    return rows


def test_package_is_read_without_importing_it(package, read):
    result = read(fake(package))
    assert list(result.documents) == [
        "fakepkg/fakepkg",
        "fakepkg/fakepkg.core",
        "fakepkg/fakepkg.latin",
        "fakepkg/fakepkg.sub.deep",
    ]
    assert result.documents["fakepkg/fakepkg.latin"] == "fakepkg.latin\n\nCafé.\n"
    assert result.metadata["fakepkg/fakepkg.core"] == {
        "package": "fakepkg",
        "file": "fakepkg/fakepkg.core",
        "row": 0,
    }
    assert "fakepkg" not in sys.modules


def test_broken_module_is_quarantined_with_its_line(package, read):
    result = read(fake(package))
    assert [(r["file"], r["position"], r["reason"]) for r in result.quarantine] == [
        ("fakepkg/fakepkg.broken", "line 2", "not_python")
    ]
    assert result.facts[0]["modules_without_text"] == 2


def test_objects_point_at_their_module_documents(package, read):
    result = read(fake(package))
    rows = objects_of(result)
    assert [row["qualified_name"] for row in rows] == [
        "fakepkg",
        "fakepkg.core.run",
        "fakepkg.latin",
        "fakepkg.sub.deep.Deep",
        "fakepkg.sub.deep.Deep.go",
    ]
    assert rows[1] == {
        "qualified_name": "fakepkg.core.run", "doc_id": "fakepkg/fakepkg.core", "kind": "function",
        "name": "run", "signature": "def run(job, *, fast=False)", "parameters": ["job", "fast"],
        "docstring": "Run a job.", "summary": "Run a job.",
    }  # fmt: skip
    for row in rows:
        assert row["signature"] in result.documents[row["doc_id"]]


def test_packages_that_are_absent_are_left_out(package, read):
    alone = read(fake(package))
    more = read(fake(package, packages=("no_such_package", "fakepkg")))
    assert more.fingerprints == alone.fingerprints


def test_no_package_at_all_is_a_data_error(package, read):
    with pytest.raises(DataError, match="none of its packages is installed"):
        read(fake(package, packages=("no_such_package",)))


def test_big_packages_are_split_into_numbered_units(package, monkeypatch, tmp_path):
    monkeypatch.setattr(pydocs, "UNIT_BYTES", 60)
    units = fake(package).units(tmp_path)
    assert [unit.name for unit in units] == [f"fakepkg-{i + 1}" for i in range(len(units))]
    assert len(units) > 1
    names = [file.name for unit in units for file in unit.files]
    assert names == sorted(names)


def test_module_beside_a_package_of_its_name_has_a_fixed_place(package, tmp_path):
    (package / "fakepkg" / "sub.py").write_text('"""Beside."""\n')
    (unit,) = fake(package).units(tmp_path)
    both = [file.path for file in unit.files if file.name == "fakepkg/fakepkg.sub"]
    assert [path.rpartition("fakepkg/")[2] for path in both] == ["sub.py", "sub/__init__.py"]


def test_other_packages_do_not_change_a_part(package, read, tmp_path):
    other = package / "second.py"
    other.write_text('"""Second module."""\n')
    one = read(fake(package))
    two = read(fake(package, packages=("fakepkg", "second")))
    assert two.fingerprints[0] == one.fingerprints[0]
    assert two.documents["second/second"] == "second\n\nSecond module.\n"


def test_documents_of_a_package_are_frozen(package, read):
    # They change only with a new STAGE_VERSION in pipeline/corpus/reading.py.
    result = read(fake(package))
    content = [result.documents, result.metadata, result.quarantine, objects_of(result)]
    assert short(digest(content)) == "ca61377b774e"


def test_topics_are_read_by_parsing(read, tmp_path):
    source = PydocsSource(standard_library=False, packages=())
    result = read(source)
    assert result.documents["topics/assignment"].startswith("Assignment statements")
    assert len(result.documents) > 50


def test_standard_library_modules_go_by_their_public_names(tmp_path):
    source = PydocsSource(topics=False, packages=())
    names = {file.name for unit in source.units(tmp_path) for file in unit.files}
    assert {"python/os.path", "python/textwrap", "python/json.decoder"} <= names
    assert not {name for name in names if ".test" in name or "posixpath" in name}


def test_real_module_has_its_documentation(read, monkeypatch):
    wanted = {"python/textwrap", "python/os.path"}
    files = pydocs._library_files
    monkeypatch.setattr(
        pydocs, "_library_files", lambda lib: [f for f in files(lib) if f.name in wanted]
    )
    result = read(PydocsSource(topics=False, packages=()))
    assert set(result.documents) == wanted
    text = result.documents["python/textwrap"]
    assert "def dedent(text)\n    Remove any common leading whitespace" in text
    rows = {row["qualified_name"]: row for row in objects_of(result)}
    assert rows["textwrap.shorten"]["parameters"] == ["text", "width", "kwargs"]
    assert rows["os.path.join"]["parameters"] == ["a", "p"]
