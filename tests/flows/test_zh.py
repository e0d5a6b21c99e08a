"""flows/configs/zh.yaml on a small Chinese corpus: what is kept, how it is cut, what is asked."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.artifacts import CleanedCorpus, EvalSet, ExampleSet, TrainedTokenizer
from pipeline.config import load
from pipeline.conversations.example import read_examples
from pipeline.corpus.cleaned import iter_documents, kept_parts, read_kept
from pipeline.stages.clean_corpus import clean_corpus
from pipeline.stages.freeze_eval_set import freeze_eval_set
from pipeline.stages.prepare_examples import prepare_examples
from pipeline.stages.train_tokenizer import train_tokenizer
from pipeline.store.runtime import Runtime
from pipeline.tokens.tokenizer import Tokenizer
from tests.flows.chinese import prose, write_corpus
from tests.flows.conftest import CHECKOUT, mill_here

CONFIG = CHECKOUT / "flows/configs/zh.yaml"


def overrides(texts: Path, root: Path) -> list[str]:
    return [
        f"root={root}", f"clean.sources.0.paths=[{texts}]", "eval_set.max_bytes=12_000",
        "tokenizer.vocab_size=640", "runtime.workers=1", "runtime.threads=1",
        # A few phrases in ever new order: every 13 characters stand somewhere else, too.
        "clean.decontamination.max_overlap=1", "clean.decontamination.max_covered=1",
    ]  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What the data stages made of the corpus."""

    eval_set: EvalSet
    corpus: CleanedCorpus
    tokenizer: TrainedTokenizer
    examples: ExampleSet


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("zh")
    root = folder / "root"
    config = load(CONFIG, overrides(write_corpus(folder / "texts"), root))
    runtime = Runtime()
    eval_set = freeze_eval_set(config.eval_set, config.clean.sources, root=root, runtime=runtime)
    corpus = clean_corpus(config.clean, eval_set, root=root, runtime=runtime)
    tokenizer = train_tokenizer(config.tokenizer, corpus, root=root, runtime=runtime)
    examples = prepare_examples(config.examples, eval_set, corpus, root=root, runtime=runtime)
    return Made(eval_set, corpus, tokenizer, examples)


def test_zh_keeps_sense_and_drops_noise(made: Made) -> None:
    names = (document.doc_id.rpartition("/")[2] for document in iter_documents(made.corpus))
    kinds = Counter(name.partition("-")[0] for name in names)
    assert kinds["noise"] == 0
    assert kinds["prose"] + kinds["manual"] >= 75  # of 100, some held out


def test_zh_documents_carry_their_language(made: Made) -> None:
    languages = [
        code
        for part in kept_parts(made.corpus)
        for code in read_kept(part, columns=("language",))["language"].to_pylist()
    ]
    assert set(languages) == {"zh"}
    assert made.corpus.facts["by_language"]["zh"]["documents_kept"] == len(languages)


def test_zh_tokens_do_not_glue_punctuation_to_characters(made: Made) -> None:
    tokenizer = Tokenizer.load(made.tokenizer.path)
    text = prose(123_456)
    ids = tokenizer.encode(text)
    pieces = [tokenizer.decode([i]) for i in ids]
    assert tokenizer.decode(ids) == text
    glued = [p for p in pieces if len(p) > 1 and set(p) & set("，。") and set(p) - set("，。\n")]
    assert not glued
    assert len(pieces) < 0.9 * len(text)


def test_zh_examples_are_chinese_and_held_out_by_page(made: Made) -> None:
    held_out = {document for document in _ids(made.eval_set)}
    splits = {
        split: list(read_examples(made.examples.path / f"{split}.jsonl"))
        for split in ("train", "validation", "held_out")
    }
    assert {example.kind for example in splits["train"]} >= {"next", "option", "summary"}
    assert all("？" in e.prompt or "一句话概括" in e.prompt for e in splits["train"])
    assert {example.group for example in splits["held_out"]} <= held_out
    assert not {example.group for example in splits["train"]} & held_out


def _ids(eval_set: EvalSet) -> list[str]:
    with pa.memory_map(str(eval_set.documents_path)) as file:
        ids: list[str] = pa.ipc.open_file(file).read_all()["doc_id"].to_pylist()
    return ids


@pytest.mark.slow
def test_zh_whole_graph_ends_in_a_model_that_writes_chinese(tmp_path: Path) -> None:
    texts = write_corpus(tmp_path / "texts")
    root = tmp_path / "root"
    mill_here(
        "run", str(CONFIG), "--no-prefect", *overrides(texts, root),
        "pretrain.model.width=64", "pretrain.model.layers=2", "pretrain.model.heads=1",
        "pretrain.model.kv_heads=1", "pretrain.model.hidden_width=128",
        "pretrain.horizon={steps: 60}", "pretrain.context_length=128", "pretrain.batch_rows=8",
        "finetune.horizon={steps: 20}", "evaluate.questions_per_kind=4",
    )  # fmt: skip
    assert (root / "export").is_dir()
    model = next((root / "export").iterdir()).name
    said = mill_here("chat", f"export@{model}", "--once", "文件是什么？", f"--root={root}").stdout
    assert any("\u4e00" <= char <= "\u9fff" for char in said)
