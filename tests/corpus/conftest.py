"""Small corpora of real and made-up text, and an eval set of chosen documents."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.artifacts import CleanedCorpus, EvalSet
from pipeline.corpus.cleaned import iter_documents
from pipeline.corpus.sources import JsonlSource
from pipeline.stages.clean_corpus import CleanConfig, clean_corpus
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.fingerprint import digest
from pipeline.store.runtime import Runtime

Texts = dict[str, str]
VOCABULARY = [a + b for a in "bdfgklmnprst" for b in ("ala", "eri", "ino", "opu", "uke", "yra")]

CHINESE = (
    "语言模型从大量文本中学习词语之间的关系，然后逐字预测下一个词。训练时，模型看到的每一个位置都是一道题目，"
    "答案就是原文中紧接着的那个字。",
    "清晨的山谷里弥漫着薄雾，村民们挑着担子走过石桥，河边的水车缓缓转动，远处传来几声鸡鸣。",
    "如果数据中混入了测试集的内容，评估得到的分数就会偏高，因此在训练之前必须先去除与测试集重复的文档。",
    "这座城市的地铁线路一共有十二条，每天运送超过八百万名乘客，早晚高峰时段平均每两分钟就有一班列车进站。",
)


def made_up(seed: int, words: int = 120) -> str:
    """Sentences of random made-up words: no two seeds share a 5-gram."""
    rng = np.random.default_rng(seed)
    chosen = [
        VOCABULARY[i] + VOCABULARY[j] for i, j in rng.integers(0, len(VOCABULARY), (words, 2))
    ]
    lines = [" ".join(chosen[i : i + 12]) + "." for i in range(0, words, 12)]
    return "\n".join(lines)


@dataclass
class Recorder:
    """A Progress that remembers its events."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def advance(self, done: float, total: float | None, unit: str) -> None:
        """Ignore."""

    def event(self, name: str, facts: Any) -> None:
        """Remember."""
        self.events.append((name, dict(facts)))


def write_jsonl(path: Path, texts: Texts) -> Path:
    """One line `{"id", "text"}` per document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"id": doc_id, "text": text}) for doc_id, text in texts.items()]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def hold_out(root: Path, texts: Texts, name: str = "held") -> EvalSet:
    """An eval set of exactly these documents."""
    table = pa.table(
        {
            "doc_id": pa.array(list(texts), pa.string()),
            "text": pa.array(list(texts.values()), pa.large_string()),
            "source": pa.array(["eval"] * len(texts), pa.string()),
        }
    )

    def work(directory: Path) -> Outcome:
        with pa.ipc.new_file(str(directory / "documents.arrow"), table.schema) as writer:
            writer.write_table(table)
        return Outcome()

    key = artifact_key("eval_set", 1, dict(texts), [])
    directory = build(key, root / "eval-sets" / name, work, root=root, runtime=Runtime())
    return EvalSet(directory, key.fingerprint)


Cleaner = Callable[..., CleanedCorpus]


@pytest.fixture
def clean(tmp_path: Path) -> Cleaner:
    """clean(files, held_out, **config) cleans one or more files of documents below tmp_path."""

    def run(
        files: Sequence[Texts] | Texts,
        held_out: Texts | None = None,
        *,
        root: Path = tmp_path / "root",
        runtime: Runtime | None = None,
        **config: Any,
    ) -> CleanedCorpus:
        files = [files] if isinstance(files, dict) else list(files)
        paths = [write_jsonl(tmp_path / f"in/f{i}.jsonl", texts) for i, texts in enumerate(files)]
        source = JsonlSource(name="test", paths=tuple(map(str, paths)), ids="corpus")
        held_out = {"held": made_up(999_983)} if held_out is None else held_out
        eval_set = hold_out(root, held_out, name=f"held-{digest(held_out)[:12]}")
        settings = CleanConfig(sources=(source,), **config)
        return clean_corpus(settings, eval_set, root=root, runtime=runtime or Runtime())

    return run


def kept_ids(corpus: CleanedCorpus) -> list[str]:
    """Ids of the kept documents, in order."""
    return [document.doc_id for document in iter_documents(corpus)]


def removals(corpus: CleanedCorpus) -> dict[str, dict[str, Any]]:
    """The removal lists of all parts by document id."""
    rows = []
    for i in range(len(corpus.part_paths())):
        with pa.ipc.open_file(str(corpus.path / f"removed-{i}.arrow")) as reader:
            rows += reader.read_all().to_pylist()
    return {row["doc_id"]: row for row in rows}
