"""`mill corpus clean`, `rejudge` and `report` as their users meet them."""

from pathlib import Path

import pytest
import yaml

from flows.commands.corpus import rejudge_corpus, report_corpus
from flows.commands.corpus_clean import clean_of_settings
from flows.settings import Settings, resolve
from pipeline.artifacts import EvalSet
from pipeline.corpus.sources import JsonlSource
from pipeline.stages.clean_corpus import CleanConfig, clean_corpus
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.runtime import Runtime
from tests.corpus.conftest import hold_out, made_up, write_jsonl
from tests.flows.conftest import small_settings, write_settings

STEPS = [{"kind": "length", "min_words": 40}, {"kind": "rules", "preset": "generic"}]


class World:
    """A corpus on disk, and the settings file it was cleaned with."""

    def __init__(self, place: Path) -> None:
        texts = {f"d{words}": made_up(words, words=words) for words in range(12, 132, 6)}
        texts["[red]x[/red]"] = made_up(1, words=30)
        paths = [str(write_jsonl(place / "in.jsonl", texts))]
        self.root = place / "root"
        source = {"kind": "jsonl", "name": "test", "paths": paths}
        settings = small_settings(self.root) | {"clean": {"sources": [source], "steps": STEPS}}
        self.settings = str(write_settings(place / "settings.yaml", settings))
        config = CleanConfig(sources=(JsonlSource.model_validate(source),), steps=STEPS)
        self.eval_set: EvalSet = hold_out(self.root, {"held": made_up(999_983)})
        self.corpus = clean_corpus(config, self.eval_set, root=self.root, runtime=Runtime())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("rejudge"))


@pytest.fixture
def rejudge(world, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    def run(target, *overrides, root=None):
        rejudge_corpus(str(target), overrides, examples=6, root=root or world.root)
        return capsys.readouterr().out

    return run


def test_without_a_change_it_lists_what_can_be_changed(world, rejudge):
    text = rejudge(world.corpus.ref)
    assert "clean.steps.length.min_words=40" in text
    assert "clean.steps.length#2.min_words=20" in text
    assert "clean.steps.repetition.max_duplicate_lines=0.3" in text


@pytest.mark.parametrize("kind", ["ref", "path", "settings"])
def test_a_corpus_is_named_in_three_ways(world, rejudge, kind):
    targets = {"ref": world.corpus.ref, "path": world.corpus.path, "settings": world.settings}
    text = rejudge(targets[kind], "clean.steps.length.min_words=100")
    assert "length.too_few_words" in text and "10 documents" in text and "are lost" in text


def test_settings_take_numbers_and_labels_together(world, rejudge):
    text = rejudge(world.settings, "clean.steps.0.min_words=5", "clean.steps.length#2.min_words=5")
    assert "6 documents" in text and "come back" in text
    assert "[red]x[/red]" in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("clean.steps.length.min_wrods=3", "did you mean min_words"),
        ("clean.steps.lenght.min_words=3", "no step is called 'lenght'"),
        ("clean.steps.9.min_words=3", "there is no 9"),
        ("pretrain.seed=3", "no override of a step"),
        ("clean.steps.length.min_words", "is not an override"),
        ("clean.steps.length.min_words=-3", "greater than or equal to 0"),
    ],
)
def test_a_mistaken_override_is_told(world, rejudge, override, message):
    with pytest.raises(ConfigError, match=message):
        rejudge(world.corpus.ref, override)


def test_a_root_without_the_corpus_is_told(world, rejudge, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="holds no corpus of .*settings.yaml"):
        rejudge(world.settings, root=tmp_path / "empty")
    with pytest.raises(ConfigError, match="does not exist"):
        rejudge(world.corpus.ref, root=tmp_path / "nowhere")


def test_something_else_than_a_corpus_is_told(world, rejudge):
    with pytest.raises(ArtifactError, match="is no cleaned corpus"):
        rejudge(world.eval_set.path)


def test_the_report_is_written_and_its_place_printed(world, capsys):
    report_corpus(world.settings, root=world.root)
    path = Path(capsys.readouterr().out.strip())
    assert path.is_file() and path.is_relative_to(world.root / "reports")


def test_cleaning_needs_no_settings_of_later_stages(world, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "100")
    whole = yaml.safe_load(Path(world.settings).read_text(encoding="utf-8"))
    settings = {"root": str(tmp_path / "root"), "runtime": {"workers": 1}, "clean": whole["clean"]}
    path = write_settings(tmp_path / "corpus.yaml", settings)
    clean_of_settings(path, ["eval_set.max_bytes=2000"])
    first = capsys.readouterr().out
    report = Path(first.split("report ")[1].strip())
    assert "+ clean" in first and report.is_file()
    held, kept = (
        next(line.split() for line in first.splitlines() if line.startswith(name))
        for name in ("held out", "kept")
    )
    assert "\N{MINUS SIGN}" in " ".join(held) and 0 < int(kept[1]) < 21
    clean_of_settings(path, ["eval_set.max_bytes=2000", "pretrain={not: looked at}"])
    assert "= clean" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="tokeniser=1: no such setting; did you mean tokeni"):
        clean_of_settings(path, ["tokeniser=1"])


def test_the_chinese_preset_takes_the_text_of_the_form(tmp_path):
    texts = str(tmp_path / "texts")
    config = resolve("zh", Settings(text_files=[texts], eval_set_name="mine"))
    assert [source.paths for source in config.clean.sources] == [(texts,)]
    assert config.tokenizer.pattern == "han" and config.eval_set.name == "mine"
