"""The doctor names what is broken and what to do, and changes nothing."""

import importlib.metadata
import os
import shutil
import socket
import sqlite3
import time
from collections import namedtuple
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import doctor
from flows.cli import app
from flows.doctor import Finding, examine

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A root with a whole database; no server is configured."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    place = tmp_path / "root"
    place.mkdir()
    with sqlite3.connect(place / "mlflow.db") as base:
        base.execute("create table runs (name text)")
        base.executemany("insert into runs values (?)", [("x" * 1000,)] * 100)
    return place


def found(findings, what: str) -> Finding:
    return next(finding for finding in findings if finding.what == what)


def test_a_healthy_root_has_no_problem_and_is_left_as_it_was(root):
    before = sorted(root.rglob("*"))
    findings = list(examine(root))
    assert [f for f in findings if f.level == "problem"] == []
    assert {"Python", "packages", "disk", "root", "mlflow.db", "clock", "CPU"} <= {
        finding.what for finding in findings
    }
    assert sorted(root.rglob("*")) == before


def test_every_problem_has_a_remedy(root, monkeypatch):
    (root / "mlflow.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(10**12, 10**12, 10**6))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    problems = [f for f in examine(root) if f.level == "problem"]
    assert {f.what for f in problems} == {"mlflow.db", "disk", "Prefect server"}
    assert all(f.remedy for f in problems)


def test_root_behind_a_file_and_an_address_of_nothing_are_problems(root):
    (root / "file").write_text("x")
    for place in (root / "file", root / "file" / "deeper"):
        problems = [f for f in examine(place, tracking_uri="nonsense") if f.level == "problem"]
        assert {f.what for f in problems} == {"root", "MLflow server"}
        assert "is a file, so" in found(problems, "root").found


def test_file_system_without_a_size_is_a_problem_of_the_disk_alone(root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, 0))
    assert [f.what for f in examine(root) if f.level == "problem"] == ["disk"]


def test_missing_and_unsuitable_packages_are_named(monkeypatch):
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "pyarrow":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.0.1" if name == "prefect" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    (finding,) = [f for f in doctor.packages() if f.what == "packages"]
    assert finding.level == "problem"
    assert "pyarrow is missing" in finding.found
    assert "prefect 0.0.1" in finding.found


def test_a_clock_that_was_set_back_is_seen(root):
    manifest = root / "clean" / "0123" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    os.utime(manifest, (time.time() + 7200, time.time() + 7200))
    (finding,) = doctor.clock(root)
    assert finding.level == "problem"
    assert "120 minutes newer" in finding.found


def test_a_taken_port_is_named_with_who_would_take_it(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(doctor, "PORTS", {port: "MLflow"})
        (finding,) = doctor.ports()
    assert finding.level == "note"
    assert f"{port} (MLflow)" in finding.found


def test_a_check_that_fails_is_itself_a_finding(root, monkeypatch):
    def broken():
        raise RuntimeError("no such luck")
        yield

    monkeypatch.setattr(doctor, "ports", broken)
    findings = list(examine(root))
    assert "no such luck" in found(findings, "check").found
    assert found(findings, "CPU").level == "ok"  # those after it still ran


def test_the_command_ends_with_2_when_something_needs_to_be_fixed(root, monkeypatch):
    result = CliRunner().invoke(app, ["doctor", "--root", str(root)])
    assert result.exit_code == 0, result.output
    assert "nothing needs to be fixed" in result.output
    Path(root / "mlflow.db").write_bytes(b"not a database" * 500)
    result = CliRunner().invoke(app, ["doctor", "--root", str(root)])
    assert result.exit_code != 0
    assert "mill store sync" in result.output
    assert "1 problem found" in str(result.exception)
