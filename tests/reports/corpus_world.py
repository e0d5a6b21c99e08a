"""A small corpus with everything a report can show, cleaned by the real stage."""

import json
from pathlib import Path

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.sources import JsonlSource
from pipeline.stages.clean_corpus import CleanConfig, clean_corpus
from pipeline.store.runtime import Runtime
from tests.corpus.conftest import CHINESE, hold_out, made_up

HOSTILE = '<script>alert("kept")</script><img src=x onerror=alert(1)> [bold]x[/bold] 语言模型'
HELD_OUT = made_up(999_983)
STEPS = (
    {"kind": "length", "min_words": 30},
    {"kind": "rules", "preset": "generic"},
)


def texts() -> dict[str, str]:
    """Kept, too short, repetitive, duplicated, held out and hostile documents."""
    base = made_up(5, words=600)
    found = {f"plain-{i}": made_up(i) for i in range(20, 40)}
    found["hostile/\u202e<b>id</b>"] = HOSTILE
    found["short"] = "too short\x00"
    found["short and repetitive"] = "\n".join(["again again"] * 12)
    found["repetitive"] = "\n".join(["the same line again and again"] * 30)
    found |= {f"copy-{i}": base for i in range(3)}
    found["near"] = base + "\n" + made_up(8, words=24)
    found["中文/一"] = "\n".join(CHINESE)
    found["contaminated"] = HELD_OUT + "\n" + made_up(9, words=40)
    return found


def make_dirty_corpus(
    root: Path,
    inputs: Path,
    steps: tuple[object, ...] = STEPS,
    *,
    held_out: str | None = None,
    **options: object,
) -> CleanedCorpus:
    """The corpus of `texts()` and of a second source in which most records are unreadable.

    `held_out` names a document whose text is held out; `options` are further settings.
    """
    inputs.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"id": name, "text": text}) for name, text in texts().items()]
    (inputs / "web.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    bad = ["not json", '{"id": "n", "text": 5}', json.dumps({"id": "o", "text": made_up(60)})]
    (inputs / "<i>bad.jsonl").write_text("\n".join(bad) + "\n", encoding="utf-8")
    sources = (
        JsonlSource(name="web", paths=(str(inputs / "web.jsonl"),)),
        JsonlSource(name="bad", paths=(str(inputs / "<i>bad.jsonl"),),
                    max_bad_fraction=0.9),
    )  # fmt: skip
    config = CleanConfig.model_validate({"sources": sources, "steps": steps, **options})
    text = HELD_OUT if held_out is None else texts()[held_out]
    eval_set = hold_out(root, {"held": text})
    return clean_corpus(config, eval_set, root=root, runtime=Runtime())
