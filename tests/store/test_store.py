"""The ground floor: atomic files, fingerprints, manifests, building once."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifacts import CleanedCorpus, find_artifact, open_artifact
from pipeline.store.building import ArtifactKey, Outcome, artifact_key, build
from pipeline.store.errors import ArtifactError, ConfigError, MillError, NotBuilt
from pipeline.store.executor import run_jobs
from pipeline.store.files import check_name, file_lock, inside, replacing, write_bytes
from pipeline.store.fingerprint import canonical_json, digest, short
from pipeline.store.manifest import BLOCK_BYTES, read_manifest, verify
from pipeline.store.runtime import Runtime
from pipeline.store.settings_file import apply_override, parse_yaml

RUNTIME = Runtime()
KEY = artifact_key("clean", 1, {"a": 1}, [])


def make(
    root: Path, key: ArtifactKey = KEY, data: bytes = b"text", runtime: Runtime = RUNTIME
) -> Path:
    def work(directory: Path) -> Outcome:
        write_bytes(directory / "data.bin", data)
        return Outcome({"bytes": len(data)})

    return build(key, root / "clean" / short(key.fingerprint), work, root=root, runtime=runtime)


def test_fingerprint_is_the_same_for_equal_values_in_any_order():
    assert digest({"a": 1, "b": (1, 2)}) == digest({"b": [1, 2], "a": 1})


def test_fingerprint_golden_value_is_stable():
    """Changes here rebuild every user's artifacts: raise a STAGE_VERSION instead."""
    key = artifact_key(
        "clean", 1, {"rate": 3e-4, "名": "值", "none": None}, ["eval_set@" + "0" * 64]
    )
    assert key.fingerprint == "c3c8bdc89b1524984a2459c01fa110af01ac18854917904880a0f9b393801cec"


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), Path("/tmp"), float("nan"), float("inf"), {1: 2}]
)
def test_value_without_stable_identity_is_refused(value):
    with pytest.raises(ConfigError):
        canonical_json({"x": value})


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_canonical_json_reads_back(value):
    try:
        text = canonical_json(value).decode("utf-8", "surrogatepass")
    except ConfigError:
        return
    assert json.loads(text) == value


def test_replacing_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_build_makes_once_then_reuses(tmp_path):
    first = make(tmp_path, data=b"one")
    second = make(tmp_path, data=b"two")
    assert first == second
    assert (second / "data.bin").read_bytes() == b"one"


def test_flipped_byte_is_an_error_that_names_file_and_hashes(tmp_path):
    directory = make(tmp_path, data=b"text")
    (directory / "data.bin").write_bytes(b"texT")
    with pytest.raises(
        ArtifactError, match="data.bin is damaged: sha256 expected [0-9a-f]{64}, found"
    ):
        make(tmp_path)


def test_a_missing_part_names_what_to_delete(tmp_path):
    def work(_: Path) -> Outcome:
        return Outcome({}, parts=("parts/clean/gone",))

    directory = build(KEY, tmp_path / "clean" / "whole", work, root=tmp_path, runtime=RUNTIME)
    with pytest.raises(ArtifactError, match=f"lacks its part .*gone; delete {directory} and run"):
        verify(directory, parts_root=tmp_path)


def test_missing_file_and_wrong_size_are_errors(tmp_path):
    directory = make(tmp_path)
    (directory / "data.bin").write_bytes(b"text and more")
    with pytest.raises(ArtifactError, match="has 13 bytes, its manifest says 4"):
        verify(directory)
    (directory / "data.bin").unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        verify(directory)


def test_sampled_verification_finds_a_flip_in_a_block_it_reads(tmp_path):
    directory = make(tmp_path, data=bytes(BLOCK_BYTES + 100))
    with open(directory / "data.bin", "r+b") as handle:
        handle.seek(BLOCK_BYTES + 50)
        handle.write(b"x")
    with pytest.raises(ArtifactError, match="damaged"):
        verify(directory, mode="sampled")


def test_artifact_tree_can_be_moved(tmp_path):
    directory = make(tmp_path / "here")
    assert str(tmp_path) not in (directory / "manifest.json").read_text()
    (tmp_path / "here").rename(tmp_path / "there")
    moved = CleanedCorpus.open(tmp_path / "there" / "clean" / directory.name)
    assert verify(moved.path).fingerprint == KEY.fingerprint


def test_full_disk_is_a_clear_error_and_leaves_no_artifact(tmp_path):
    def work(directory: Path) -> Outcome:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArtifactError, match=r"disk is full.*MB free.*run the same command again"):
        build(KEY, tmp_path / "clean" / "x", work, root=tmp_path, runtime=RUNTIME)
    assert not (tmp_path / "clean" / "x" / "manifest.json").exists()


def test_other_os_errors_stay_what_they_are_so_that_they_are_retried(tmp_path):
    def work(directory: Path) -> Outcome:
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        build(KEY, tmp_path / "clean" / "x", work, root=tmp_path, runtime=RUNTIME)


def test_run_that_may_not_build_says_what_is_missing(tmp_path):
    with pytest.raises(NotBuilt, match="clean@"):
        make(tmp_path, runtime=replace(RUNTIME, may_build=False))


def test_find_artifact_takes_short_references_and_names_what_there_is(tmp_path):
    directory = make(tmp_path)
    assert find_artifact(tmp_path, "clean@" + KEY.fingerprint[:6]).path == directory
    assert open_artifact(directory).ref == "clean@" + KEY.fingerprint[:12]
    with pytest.raises(ArtifactError, match="of this stage there are: clean@"):
        find_artifact(tmp_path, "clean@ffff")


HOLD = """
import sys, time
from pathlib import Path
from pipeline.store.files import file_lock
with file_lock(Path(sys.argv[1]), owner="the other run", wait_seconds=0, waiting=lambda h: None):
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_names_its_owner_and_is_freed_by_kill_minus_nine(tmp_path):
    lock = tmp_path / "a.lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    heard: list[str] = []
    with (
        pytest.raises(ArtifactError, match="the other run"),
        file_lock(lock, owner="me", wait_seconds=0.2, waiting=heard.append),
    ):
        pass
    assert heard == ["the other run"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    with file_lock(lock, owner="me", wait_seconds=5, waiting=heard.append):
        pass


def _build_slowly(root: str) -> None:
    def work(directory: Path) -> Outcome:
        with open(Path(root) / "builds", "a") as log:
            log.write("x")
        time.sleep(0.5)
        write_bytes(directory / "data.bin", b"text")
        return Outcome()

    build(KEY, Path(root) / "clean" / "x", work, root=Path(root), runtime=RUNTIME)


def test_two_runs_at_once_build_an_artifact_once(tmp_path):
    context = multiprocessing.get_context("forkserver")
    runs = [context.Process(target=_build_slowly, args=(str(tmp_path),)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0]
    assert (tmp_path / "builds").read_text() == "x"


def test_files_of_a_killed_build_are_cleared_before_the_next(tmp_path):
    directory = tmp_path / "clean" / short(KEY.fingerprint)
    directory.mkdir(parents=True)
    (directory / "half.bin").write_bytes(b"half")
    (directory / ".data.bin.tmp-1").write_bytes(b"half")
    make(tmp_path)
    assert set(read_manifest(directory).files) == {"data.bin"}


@pytest.mark.parametrize(("chosen", "found"), [("", ["colorsys"]), ("plistlib", ["plistlib"])])
def test_workers_find_loaded_what_was_asked_for_unless_the_application_chose(
    tmp_path: Path, chosen: str, found: list[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import multiprocessing
import sys
from pipeline.store.executor import run_jobs
from pipeline.store.runtime import Runtime

def loaded(number):
    return [name for name in ("colorsys", "plistlib") if name in sys.modules]

if __name__ == "__main__":
    if {chosen!r}:
        multiprocessing.get_context("forkserver").set_forkserver_preload([{chosen!r}])
    print(run_jobs(Runtime(workers=2).preloading("colorsys"), loaded, [1]))
"""
    )
    checkout = str(Path(__file__).resolve().parents[2])
    result = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)], capture_output=True, text=True,
        check=True, env={**os.environ, "PYTHONPATH": checkout},
    )  # fmt: skip
    assert result.stdout.strip() == str([found])


@dataclass(frozen=True)
class Job:
    directory: str
    number: int


def _die_once(job: Job) -> int:
    marker = Path(job.directory) / f"died-{job.number}"
    if job.number == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job.number * job.number


def _always_die(job: Job) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_jobs_of_a_killed_worker_are_run_again_in_order(tmp_path):
    jobs = [Job(str(tmp_path), n) for n in range(5)]
    assert run_jobs(Runtime(workers=2), _die_once, jobs) == [0, 1, 4, 9, 16]


def test_workers_that_keep_dying_end_in_an_error_with_the_remedy(tmp_path):
    with pytest.raises(ArtifactError, match="lower runtime.workers"):
        run_jobs(Runtime(workers=2), _always_die, [Job(str(tmp_path), 1)])


def test_runtime_executor_is_a_concurrent_futures_executor():
    with Runtime(workers=1).executor() as pool:
        assert isinstance(pool, Executor)
        assert pool.submit(len, "four").result() == 4


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "a\0b", "x" * 101, "..", "a..b"])
def test_dangerous_names_are_refused(name):
    with pytest.raises(ConfigError, match="not a usable name"):
        check_name(name, what="eval_set.name")


def test_path_that_leaves_the_root_through_a_link_is_refused(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="lies outside"):
        inside(tmp_path / "root", tmp_path / "root" / "link" / "x")


def test_yaml_reads_numbers_as_a_person_means_them():
    assert parse_yaml("a: 3e-4\nb: 1_000\nc: 1.5\nd: 1e6\ne: '3e-4'", where="x") == {
        "a": 3e-4, "b": 1000, "c": 1.5, "d": 1e6, "e": "3e-4",
    }  # fmt: skip


def test_duplicate_yaml_key_is_an_error_with_its_line():
    with pytest.raises(ConfigError, match=r"'a' appears twice \(line 2\)"):
        parse_yaml("a: 1\na: 2\n", where="x")


def test_yaml_cannot_run_code():
    with pytest.raises(MillError):
        parse_yaml("!!python/object/apply:os.system ['true']", where="x")


def test_overrides_reach_into_lists_and_refuse_what_is_not_there():
    tree = {"clean": {"sources": [{"name": "a"}]}}
    apply_override(tree, "clean.sources.0.name=b")
    apply_override(tree, "pretrain.learning_rate=3e-4")
    assert tree == {"clean": {"sources": [{"name": "b"}]}, "pretrain": {"learning_rate": 3e-4}}
    with pytest.raises(ConfigError):
        apply_override(tree, "clean.sources.7.name=b")
    with pytest.raises(ConfigError):
        apply_override(tree, "no-equals-sign")


def test_script_that_workers_would_run_again_is_told_to_guard_its_calls(tmp_path: Path) -> None:
    calls = (
        "from pipeline.store.executor import run_jobs\n"
        "from pipeline.store.runtime import Runtime\n"
        "{guard}print(run_jobs(Runtime(workers=2), len, ['a', 'bb']))\n"
    )
    for guard, code, told in (("", 1, "if __name__"), ("if __name__ == '__main__': ", 0, "[1, 2]")):
        script = tmp_path / "script.py"
        script.write_text(calls.format(guard=guard))
        result = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        assert result.returncode == code and told in result.stdout + result.stderr
