"""The command line as a user meets it: help, every command, mistakes, strange directories."""

import errno
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from flows import cli
from tests.flows.conftest import (
    CHECKOUT,
    environment,
    mill,
    mill_here,
    small_settings,
    write_settings,
)


def reference(root: Path, stage: str, folder: str | None = None) -> str:
    return f"{stage}@{next((root / (folder or stage)).iterdir()).name}"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A directory with a model.py, a pipeline.py and a flows package that fail when imported."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "flows").mkdir()
    for name in ("model.py", "pipeline.py", "flows/__init__.py", "prefect.py"):
        (folder / name).write_text("raise SystemExit('the user\\'s own module was imported')\n")
    return folder


@pytest.fixture(scope="module")
def spare_root(small_run, tmp_path_factory) -> Path:
    """A copy of the small run, so that a mistake in a late stage is reached at once."""
    root = tmp_path_factory.mktemp("spare") / "root"
    shutil.copytree(small_run, root)
    return root


def test_help_answers_in_half_a_second():
    times = []
    for _ in range(5):
        start = time.perf_counter()
        output = mill("--help").stdout
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5, f"best {min(times):.2f} s, median {statistics.median(times):.2f} s"
    for command in ("run", "plan", "show", "trace", "chat", "serve", "dev", "store", "registry"):
        assert command in output


def test_console_scripts_are_the_same_program():
    project = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'gristmill = "flows.cli:main"' in project
    assert 'mill = "flows.cli:main"' in project


@pytest.mark.slow
def test_every_command_runs_from_a_directory_with_the_users_own_modules(small_run, hostile):
    tuned = reference(small_run, "finetune")
    root = ("--root", str(small_run))
    shown = mill("show", tuned, *root, cwd=hostile).stdout
    assert "facts" in shown and "pretrain@" in shown
    assert "version 1" in mill("show", "models:/small@champion", *root, cwd=hostile).stdout
    run_id = next(p.name for p in (small_run / "journal").iterdir() if p.is_dir())
    assert "finetune" in mill("show", run_id, *root, cwd=hostile).stdout
    assert mill("chat", tuned, "--once", "Parameters of f(a)", *root, cwd=hostile).stdout
    page = hostile / "page.html"
    traced = mill(
        "trace", tuned, "Return the", "--answer", "a", "--html", str(page), *root, cwd=hostile
    ).stdout
    assert "(1," in traced and "<html" in page.read_text(encoding="utf-8")
    assert (
        "tokens"
        in mill(
            "store", "shards", reference(small_run, "tokenize", "tokens"), *root, cwd=hostile
        ).stdout
    )
    assert "whole" in mill("store", "verify", *root, cwd=hostile).stdout
    assert mill("store", "sync", *root, cwd=hostile).returncode == 0
    assert (
        "tokens"
        in mill(
            "tokenizer",
            "inspect",
            reference(small_run, "tokenizer"),
            "def f(): 中文",
            *root,
            cwd=hostile,
        ).stdout
    )


def test_plan_says_reuse_for_a_finished_run_and_builds_nothing(small_run, tmp_path):
    config = write_settings(tmp_path / "small.yaml", small_settings(small_run))
    before = sorted(p.name for p in (small_run / "journal").iterdir())
    output = mill_here("plan", str(config)).stdout
    assert output.count("reuse") >= 12 and "build" not in output.replace("would build", "")
    assert sorted(p.name for p in (small_run / "journal").iterdir()) == before


def test_plan_names_tokens_epochs_and_money_before_the_first_run(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    settings = small_settings(tmp_path / "root")
    settings["runtime"]["price_per_hour"] = 2.5
    config = write_settings(tmp_path / "small.yaml", settings)
    output = mill_here("plan", str(config)).stdout
    assert re.search(r"pretrain .*build.*20,480 tokens.*epochs.*M parameters", output)
    assert "price per hour" in output
    assert not (tmp_path / "root" / "clean").exists()


def test_plan_that_exceeds_memory_is_refused_before_work(tmp_path):
    settings = small_settings(tmp_path / "root")
    settings["pretrain"]["model"] |= {
        "width": 65536,
        "layers": 1000,
        "hidden_width": 262144,
        "head_width": 32768,
    }
    config = write_settings(tmp_path / "small.yaml", settings)
    result = mill_here("run", str(config), "--no-prefect", check=False)
    assert result.returncode == 2
    assert re.search(
        r"error: pretrain needs about [\d.]+ GB of memory, this machine has", result.stderr
    )
    assert not (tmp_path / "root" / "clean").exists()


def test_changed_finetune_setting_rebuilds_only_what_follows(small_run, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(small_run, root)
    config = write_settings(tmp_path / "small.yaml", small_settings(root))
    output = mill_here("run", str(config), "finetune.seed=7", "--no-prefect").stdout
    built = re.findall(r"^\+ (\S+)\s+built", output, re.MULTILINE)
    assert built == ["finetune", "evaluate-tuned", "export-tuned"]


def test_only_an_early_stage_needs_no_section_of_a_later_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"Text {name} says how a loop reads lines. " * 40)
    sources = [{"kind": "text", "name": "a", "paths": [str(tmp_path / "*.txt")]}]
    settings = {"root": str(tmp_path / "runs"), "clean": {"sources": sources}, "pretrain": {"x": 1}}
    config = write_settings(tmp_path / "short.yaml", settings)
    made = mill_here("run", str(config), "--only", "eval_set", "--no-prefect").stdout
    assert "eval_set@" in made and "pretrain.x" in made and "registry" in made
    refused = mill_here("run", str(config), "--only", "tokenizer", "--no-prefect", check=False)
    assert refused.returncode == 2 and "tokenizer: Field required" in refused.stderr
    refused = mill_here("run", str(config), "--only", "pretrain", "--no-prefect", check=False)
    assert refused.returncode == 2 and "registry" in refused.stderr


def test_plan_refuses_files_that_the_stages_could_not_take(tmp_path: Path) -> None:
    config = str(Path(__file__).parents[2] / "flows" / "configs" / "tiny.yaml")
    for override, wrong in (
        ("tokenizer={kind: huggingface, path: /nowhere}", "tokenizer.path=/nowhere holds no"),
        ("tokenizer={kind: published, name: gpt2, file: /nowhere}", "looked in /nowhere"),
        ("pretrain.start={kind: huggingface, path: /nowhere}", "start.path=/nowhere holds no"),
        ("export.source_licenses={pydoc: MIT}", "clean.sources has pydocs"),
    ):
        refused = mill_here("plan", config, f"root={tmp_path}", override, check=False)
        assert refused.returncode in (2, 3) and wrong in refused.stderr, refused.stderr


def test_only_runs_one_stage_and_refuses_when_its_inputs_are_missing(small_run, tmp_path):
    root = tmp_path / "root"
    config = write_settings(tmp_path / "small.yaml", small_settings(root))
    result = mill_here("run", str(config), "--only", "tokenize", "--no-prefect", check=False)
    assert result.returncode == 4
    assert "`mill run CONFIG` does" in result.stderr and "Traceback" not in result.stderr
    mill_here("run", str(config), "--only", "eval_set", "--no-prefect")
    output = mill_here("run", str(config), "--only", "clean", "--no-prefect").stdout
    assert re.search(r"^= eval_set\s+reused", output, re.MULTILINE)
    assert re.search(r"^\+ clean\s+built", output, re.MULTILINE)
    assert "tokenizer" not in output


@pytest.mark.parametrize(
    ("overrides", "code", "message"),
    [
        (["pretrain.hroizon={steps: 3}"], 2, "did you mean horizon?"),
        (["pretrain.learning_rate=1"], 2, "did you mean optimizer.learning_rate?"),
        (["pretrain.seed=[1"], 2, "not valid YAML in line 1, column 3: expected ',' or ']'"),
        (["pretrain.horizon={steps: -1}"], 2, "greater than or equal to 1"),
        (["clean.sources=[{kind: jsonl, name: mine, paths: [/nowhere/x.jsonl]}]"], 3, "/nowhere/x"),
        (["tokenizer.vocab_size=200000"], 2, "vocab"),
        (["pretrain.context_length=1000000"], 2, "context_length"),
        (["eval_set.name=../x"], 2, "eval_set.name"),
        (["root=/proc/nowhere"], 2, "cannot be written"),
        (["clean.steps=[{kind: length, min_words: 1000000}]"], 3, "too_few_words"),
        (["nonsense"], 2, "section.key=value"),
        (["clean.sources=[{kind: text, name: mine, paths: ~/x}]"], 2, "1 wrong setting\n"),
        (["clean.sources.0={name: mine}"], 2, "names no `kind`"),
        (["pretrain.prompts=a"], 2, "must be a list"),
        (["pretrain.model={[a]: 1}"], 2, "is no name"),
    ],
)  # fmt: skip
def test_mistake_ends_in_one_line_with_its_exit_code(
    spare_root, tmp_path, overrides, code, message
):
    config = write_settings(tmp_path / "small.yaml", small_settings(spare_root))
    result = mill_here("run", str(config), *overrides, "--no-prefect", check=False)
    assert result.returncode == code, result.stdout + result.stderr
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback(tmp_path):
    result = mill("run", str(tmp_path / "no.yaml"), "--debug", check=False)
    assert "Traceback" in result.stderr and "ConfigError" in result.stderr


def test_a_root_that_is_not_there_is_refused_and_not_made(tmp_path):
    root = tmp_path / "nowhere"
    for command in (["chat", "models:/m@champion", "--once", "x"], ["trace", "models:/m/1", "x"]):
        result = mill_here(*command, "--root", str(root), check=False)
        assert result.returncode == 2 and "does not exist" in result.stderr
        assert not root.exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_place_that_cannot_be_written_is_no_traceback(monkeypatch, capsys, tmp_path, number):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path))

    monkeypatch.setattr(cli, "app", refuse)
    with pytest.raises(SystemExit) as ended:
        cli.main(["store", "verify"])
    assert ended.value.code == 4
    assert capsys.readouterr().err.startswith(f"error: [Errno {number}]")
    with pytest.raises(OSError, match="Errno"):
        cli.main(["store", "verify", "--debug"])


def test_wrong_arguments_of_commands_on_models_are_named(small_run, tmp_path):
    tuned = next((small_run / "finetune").iterdir())
    clean = next((small_run / "clean").iterdir())
    for command, message in (
        (["trace", str(tuned), "x", "--html", str(tmp_path)], "is a directory"),
        (["chat", str(tuned), "--once", "x", "--seed", str(2**63)], "Invalid value"),
        (["tokenizer", "inspect", str(clean), "x"], "is no tokenizer"),
    ):
        result = mill_here(*command, check=False)
        assert result.returncode in (2, 4) and message in result.stderr, result.stderr
        assert "Traceback" not in result.stderr


def test_unknown_stage_and_missing_file_are_named(tmp_path):
    config = write_settings(tmp_path / "small.yaml", small_settings(tmp_path / "root"))
    result = mill_here("run", str(config), "--only", "polish", "--no-prefect", check=False)
    assert result.returncode == 2 and "eval_set, clean, tokenizer" in result.stderr
    assert mill_here("run", "no/such.yaml", check=False).returncode == 2


def test_corrupted_artifact_is_refused_and_the_others_untouched(small_run, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(small_run, root)
    weights = next((root / "pretrain").glob("*/final/model.safetensors"))
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    config = write_settings(tmp_path / "small.yaml", small_settings(root))
    result = mill_here("run", str(config), "--no-prefect", check=False)
    assert result.returncode == 4
    assert re.search(
        r"model.safetensors is damaged: sha256 expected \w{64}, found \w{64}; delete", result.stderr
    )
    assert mill_here("store", "verify", "--root", str(root), check=False).returncode == 4


def test_full_disk_is_a_clear_error_and_the_next_run_goes_on(small_run, tmp_path):
    """RLIMIT_FSIZE makes every file longer than 200 kB fail as a full disk does."""
    root = tmp_path / "root"
    config = write_settings(tmp_path / "small.yaml", small_settings(root))
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000));"
        "from flows.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", code, "run", str(config), "--no-prefect",
         "tracking.enabled=false"],
        env=environment(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert result.returncode == 4, result.stdout + result.stderr
    assert "disk is full" in result.stderr and "Traceback" not in result.stderr
    mill_here("run", str(config), "--only", "eval_set", "--no-prefect")


def test_your_own_text_is_three_lines_of_yaml(small_run, tmp_path):
    """The README's promise: a folder of text files instead of the embedded default."""
    folder = tmp_path / "texts"
    folder.mkdir()
    sentences = "The miller weighs every sack of grain before the stones are set to work. "
    for number in range(60):
        body = "\n\n".join(
            f"{sentences}Sack {number * 100 + n} came by cart {n * n % 97}." for n in range(8)
        )
        (folder / f"文件-{number}.txt").write_text(body, encoding="utf-8")
    settings = small_settings(tmp_path / "root")
    settings["clean"] = {
        "sources": [{"kind": "text", "name": "mine", "paths": [str(folder)]}],
        "steps": [{"kind": "length"}],
        "dedup": {"near": False},
        "decontamination": {"max_overlap": 1.0, "max_covered": 1.0, "near_duplicates": False},
    }
    settings["eval_set"] = {"name": "mine", "max_bytes": 5_000}
    settings["tokenizer"]["vocab_size"] = 300
    config = write_settings(tmp_path / "mine.yaml", settings)
    assert yaml.safe_load(config.read_text())["clean"]["sources"][0]["kind"] == "text"
    output = mill_here("run", str(config), "--only", "eval_set", "--no-prefect").stdout
    assert "built" in output
