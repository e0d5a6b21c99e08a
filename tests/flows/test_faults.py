"""The fault table's own tests: signals, full disks, damage and hostile names in every stage."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flows.leftovers import temporaries, unfinished
from pipeline.artifacts import finished_artifacts
from pipeline.store.errors import ArtifactError
from pipeline.store.manifest import is_finished, read_manifest, verify
from tests.flows.conftest import mill, mill_here, small_settings, write_settings
from tests.flows.killing import identities, run_in_child
from tests.flows.test_killing import STAGES, untracked_settings


def artifacts_and_parts(root: Path) -> list[Path]:
    """Every directory with a manifest: one of each kind of artifact, and of each kind of part."""
    found = [artifact.path for artifact in finished_artifacts(root)]
    for home in sorted((root / "parts").iterdir()):
        found.append(next(path for path in sorted(home.iterdir()) if is_finished(path)))
    return found


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "empty"])
def test_damage_in_any_file_of_any_kind_of_artifact_is_found_and_named(
    small_run: Path, tmp_path: Path, damage: str
) -> None:
    shutil.copytree(small_run, tmp_path / "root")
    files = 0
    for directory in artifacts_and_parts(tmp_path / "root"):
        for name in [*read_manifest(directory).files, "manifest.json"]:
            path = directory / name
            whole = path.read_bytes()
            if not whole:
                continue
            if damage == "flip":
                middle = len(whole) // 2
                path.write_bytes(
                    whole[:middle] + bytes([whole[middle] ^ 0x80]) + whole[middle + 1 :]
                )
            elif damage == "truncate":
                path.write_bytes(whole[: len(whole) // 2])
            elif damage == "delete":
                path.unlink()
            else:
                path.write_bytes(b"")
            with pytest.raises(ArtifactError) as refused:
                verify(directory)
            assert path.name in str(refused.value)
            path.write_bytes(whole)
            files += 1
    assert files > 40


def test_files_from_the_future_and_the_past_rebuild_nothing(
    small_run: Path, tmp_path: Path
) -> None:
    """A clock that was set back or forward decides nothing: content and step numbers do."""
    root = tmp_path / "root"
    shutil.copytree(small_run, root)
    for number, path in enumerate(sorted(root.rglob("*"))):
        moment = time.time() + (86_400 * 400 if number % 2 else -86_400 * 400)
        os.utime(path, (moment, moment))
    config = write_settings(tmp_path / "small.yaml", untracked_settings(root))
    output = mill_here("run", str(config), "--no-prefect").stdout
    assert "\n+ " not in output and "= pretrain" in output


@pytest.mark.parametrize(
    "override",
    ["eval_set.name=../x", "registry.name=../x", "eval_set.name=/etc/x", "registry.name=a/b"],
)
def test_name_that_is_a_path_is_refused_before_work(tmp_path: Path, override: str) -> None:
    config = write_settings(tmp_path / "small.yaml", small_settings(tmp_path / "root"))
    result = mill_here("run", str(config), "--no-prefect", override, check=False)
    assert result.returncode == 2 and override.partition("=")[2] in result.stderr
    assert not (tmp_path / "root" / "clean").exists()


def test_root_that_cannot_be_written_is_refused_before_work(tmp_path: Path) -> None:
    """/proc refuses everybody, root too."""
    config = write_settings(tmp_path / "small.yaml", small_settings(Path("/proc/gristmill")))
    result = mill_here("run", str(config), "--no-prefect", check=False)
    assert result.returncode == 2 and "cannot be written" in result.stderr


@pytest.mark.slow
def test_two_runs_at_once_on_one_root_build_everything_once(
    small_run: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    settings = untracked_settings(root)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run_in_child, [settings, settings])) == [0, 0]
    records = [json.loads(path.read_text()) for path in root.glob("journal/*/stages.json")]
    assert len(records) == 2
    built = [row["title"] for rows in records for row in rows if row["outcome"] == "built"]
    assert len(built) == len(set(built)) == sum(row["outcome"] != "done" for row in records[0])
    assert identities(root) == identities(small_run)
    assert list(temporaries(root, older_than_seconds=0)) == []
    assert list(unfinished(root, older_than_seconds=0)) == []


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "code"), [("terminate", 143), ("full_disk", 4)])
def test_fault_in_every_stage_ends_with_its_code_and_changes_nothing(
    small_run: Path, tmp_path: Path, fault: str, code: int
) -> None:
    settings = untracked_settings(tmp_path / "root")
    for stage in STAGES:
        ended = run_in_child(settings, kill_in=stage, at_call=1, fault=fault)
        # A registry that cannot be written is a warning: the registration waits in the ledger.
        assert ended == code or (stage == "registry" and ended == 0), f"{stage} ended with {ended}"
    assert run_in_child(settings) == 0
    assert identities(tmp_path / "root") == identities(small_run)


class Broken(BaseHTTPRequestHandler):
    """A server that is there and is of no use."""

    def answer(self) -> None:
        if self.server.slow:  # type: ignore[attr-defined]
            time.sleep(30)
        self.send_error(500)

    do_GET = do_POST = do_PATCH = answer

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(params=["500", "slow"])
def broken(request: pytest.FixtureRequest) -> Iterator[str]:
    """Its address: it answers 500, or not for half a minute."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    server.slow = request.param == "slow"  # type: ignore[attr-defined]
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.slow
def test_broken_prefect_server_costs_a_warning(
    broken: str, small_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_run, tmp_path / "root")
    config = write_settings(tmp_path / "small.yaml", untracked_settings(tmp_path / "root"))
    result = mill(
        "run", str(config), PREFECT_API_URL=f"{broken}/api", PREFECT_CLIENT_MAX_RETRIES="0",
        PREFECT_API_REQUEST_TIMEOUT="1",
    )  # fmt: skip
    assert "going on without it" in result.stdout and "= pretrain" in result.stdout


@pytest.mark.slow
def test_broken_mlflow_server_costs_seconds_and_no_number(
    broken: str, small_run: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(small_run, root)
    settings = small_settings(root)
    settings["tracking"] |= {"uri": broken, "drain_seconds": 1.0}
    settings["finetune"]["seed"] = 21
    config = write_settings(tmp_path / "small.yaml", settings)
    started = time.monotonic()
    result = mill_here("run", str(config), "--no-prefect")
    assert time.monotonic() - started < 120
    assert "+ finetune" in result.stdout
    newest = max((root / "journal").glob("2*"), key=lambda path: path.name)
    lines = (newest / "finetune.jsonl").read_text()
    assert '"train/loss"' in lines
    synced = mill_here("store", "sync", "--root", str(root)).stdout
    assert "records" in synced
