"""A secret in the environment is in nothing that a run writes: the whole root is searched."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import mill, mill_here, small_settings, write_settings

CANARY = "c4n4ry-d0-n0t-s1ng"
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": CANARY,
    "AWS_SESSION_TOKEN": CANARY,
    "GOOGLE_API_KEY": CANARY,
    "HF_TOKEN": CANARY,
    "GRISTMILL_ALERT_WEBHOOK": f"https://hooks.example.com/{CANARY}",
    "MLFLOW_TRACKING_PASSWORD": CANARY,
    "MLFLOW_TRACKING_TOKEN": CANARY,
    "PGPASSWORD": CANARY,
    "PREFECT_API_KEY": CANARY,
    "PREFECT_API_AUTH_STRING": f"admin:{CANARY}",
    "PREFECT_API_DATABASE_PASSWORD": CANARY,
}


def leaks(root: Path) -> list[str]:
    """Files below `root` that hold the canary."""
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 20
    return [str(p.relative_to(root)) for p in files if CANARY.encode() in p.read_bytes()]


@pytest.fixture
def root(small_run: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(small_run, tmp_path / "root")
    yield tmp_path / "root"


def test_secrets_of_the_environment_stay_there(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = small_settings(root)
    settings["finetune"]["seed"] = 5  # trained, evaluated, exported and registered anew
    config = write_settings(tmp_path / "small.yaml", settings)
    result = mill_here("run", str(config), "--no-prefect")
    assert "+ finetune" in result.stdout and CANARY not in result.stdout + result.stderr
    assert leaks(root) == []


def test_address_with_a_password_is_refused_and_written_nowhere(root: Path, tmp_path: Path) -> None:
    config = write_settings(tmp_path / "small.yaml", small_settings(root))
    for override in (
        f"tracking.uri=http://me:{CANARY}@127.0.0.1:9",
        f"clean.sources=[{{kind: jsonl, paths: ['https://me:{CANARY}@h.example/x.jsonl']}}]",
        f"clean.sources=[{{kind: jsonl, paths: [x], storage_options: {{secret: {CANARY}}}}}]",
    ):
        result = mill_here("run", str(config), "--no-prefect", override, check=False)
        assert result.returncode == 2 and "credentials" in result.stderr
        assert CANARY not in result.stdout + result.stderr
    for command in (["store", "sync"], ["doctor"]):
        uri = f"http://me:{CANARY}@127.0.0.1:9"
        result = mill_here(*command, "--root", str(root), "--uri", uri, check=False)
        assert result.returncode != 0 and CANARY not in result.stdout + result.stderr, command
    assert leaks(root) == []


@pytest.mark.slow
def test_secrets_stay_out_of_prefects_and_mlflows_databases_too(root: Path, tmp_path: Path) -> None:
    settings = small_settings(root)
    settings["finetune"]["seed"] = 6
    config = write_settings(tmp_path / "small.yaml", settings)
    # The server of the run would want PREFECT_API_AUTH_STRING from everybody, as it should.
    secrets = {k: v for k, v in SECRETS.items() if k != "PREFECT_API_AUTH_STRING"}
    home = str(root / "prefect")
    result = mill("run", str(config), **secrets, PREFECT_HOME=home, PREFECT_LOGGING_LEVEL="DEBUG")
    assert CANARY not in result.stdout + result.stderr
    assert (root / "prefect" / "prefect.db").stat().st_size > 0
    assert leaks(root) == []
