"""A small finished run: every artifact in the layout the stages give it; nothing is trained."""

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.artifacts import (
    Artifact,
    Checkpoint,
    CleanedCorpus,
    EvalReport,
    EvalSet,
    ExampleSet,
    ExportedModel,
    TokenShards,
    TrainedTokenizer,
)
from pipeline.corpus.dedup.removal import REMOVED_SCHEMA
from pipeline.corpus.document import DOCUMENT_SCHEMA
from pipeline.reports.facts import RunFacts
from pipeline.stages.measure_baselines import BaselinesConfig, measure_baselines
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.fingerprint import short
from pipeline.store.runtime import Runtime
from pipeline.tokens.shard_writer import TokenRow, write_shard
from pipeline.tokens.tokenizer import Tokenizer, with_our_specials

HOSTILE = "<script>alert('held out')</script> ![x](http://evil.example/x.png) `` ``` | a | b | $x$"
WORDS = (
    "return the value of path file read write open close list index a an of for with in is".split()
)


@dataclass
class World:
    """A root with artifacts in it."""

    root: Path
    runtime: Runtime
    tokenizer: Tokenizer
    held_out: dict[str, str]
    training: dict[str, str]
    run: RunFacts


def make(root, kind, place, stage, facts, write=None, parts=(), name=None, config=None):
    key = artifact_key(stage, 1, {"facts": facts, "more": config}, [])
    directory = root / place / (name or short(key.fingerprint))

    def work(directory: Path) -> Outcome:
        if write is not None:
            write(directory)
        return Outcome(facts, parts)

    build(key, directory, work, root=root, runtime=Runtime())
    return kind(directory, key.fingerprint)


def sentences(rng: random.Random, number: int) -> str:
    return "\n".join(
        " ".join(rng.choices(WORDS, k=rng.randint(6, 14))) + "." for _ in range(number)
    )


def write_table(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), "utf-8")


def byte_tokenizer() -> Tokenizer:
    ranks = {bytes([i]): i for i in range(256)}
    for pair in (b"re", b"th", b"in", b"an", b"of", b"se", b"le", b"st", b" a", b" t"):
        ranks[pair] = len(ranks)
    return with_our_specials("tiny", r"\s?\S+|\s+", ranks)


def make_corpus(root: Path, training: dict[str, str]) -> CleanedCorpus:
    ids, texts = list(training), list(training.values())
    columns = [ids, texts, ["文档"] * len(ids), ["{}"] * len(ids)]

    def part(directory: Path) -> None:
        write_table(directory / "documents.arrow", pa.table(columns, schema=DOCUMENT_SCHEMA))

    cleaned = make(root, Artifact, "parts/clean", "clean_part", {}, part, config=ids)
    kept, size = len(ids), sum(len(text.encode()) for text in texts)
    dropped = {"near_duplicate": 9, "length.too_few_words": 5, "held_out": 3, "重复 $a$": 1}
    read = kept + sum(dropped.values())
    steps = {"read": read, **{name: -n for name, n in dropped.items()}, "kept": kept}
    tally = {
        "documents_read": read, "documents_kept": kept, "bytes_read": 2 * size, "bytes_kept": size,
        "quarantined": 2, "dropped": dropped,
    }  # fmt: skip
    facts = {
        **tally,
        "by_source": {"文档": tally, "<b>web</b>": {**tally, "documents_kept": 0}},
        "funnel": [
            {"step": name, "documents": n, "share": abs(n) / read} for name, n in steps.items()
        ],
        "deduplication": {"exact_duplicate": 4, "held_out_near_copy": 2},
        "decontamination": {
            "held_out_documents": 6, "held_out_13grams": 812,
            "share_seen_before": 0.27, "share_seen_after": 0.04,
        },
    }  # fmt: skip

    def removed(directory: Path) -> None:
        write_table(directory / "removed-0.arrow", REMOVED_SCHEMA.empty_table())

    where = cleaned.path.relative_to(root).as_posix()
    return make(root, CleanedCorpus, "clean", "clean", facts, removed, (where,))


def make_shards(root: Path, training: dict[str, str], tokenizer: Tokenizer) -> TokenShards:
    rows = [
        TokenRow(doc_id, "文档", tokenizer.encode_array(text)) for doc_id, text in training.items()
    ]
    train, validation = rows[:-2], rows[-2:]

    def part(directory: Path) -> None:
        write_shard(directory / "train-00000.arrow", train, tokenizer)
        write_shard(directory / "validation-00000.arrow", validation, tokenizer)

    made = make(root, Artifact, "parts/tokenize", "tokenize_part", {"n": len(rows)}, part)
    count = [sum(len(row.ids) + 2 for row in split) for split in (train, validation)]
    facts = {
        "train_tokens": count[0], "validation_tokens": count[1], "documents": len(rows),
        "bytes": sum(len(text.encode()) for text in training.values()),
        "vocab_size": tokenizer.vocab_size, "tokenizer_sha256": tokenizer.sha256,
    }  # fmt: skip
    where = made.path.relative_to(root).as_posix()
    return make(root, TokenShards, "tokens", "tokenize", facts, None, (where,))


def make_checkpoint(root: Path, stage: str, *, turned: bool) -> Checkpoint:
    rng = np.random.default_rng(7)
    curve: list[dict[str, Any]] = []
    validation = []
    for step in range(1, 241):
        tokens = step * 4096
        loss = 2.1 + 5.5 * np.exp(-step / 22) + 0.9 * np.exp(-step / 130) + rng.normal(0, 0.06)
        curve.append({
            "step": step, "tokens": tokens, "seconds": step * 0.6, "train_loss": float(loss),
            "learning_rate": 1e-3, "grad_norm": 0.5, "tokens_per_second": 7000.0,
        })  # fmt: skip
        if step % 20 == 0:
            rise = 0.0022 * max(0, step - 120) if turned else 0.0
            value = 2.2 + 5.5 * np.exp(-step / 22) + 0.9 * np.exp(-step / 130) + rise
            validation.append((float(value), step))
            curve.append({"step": step, "tokens": tokens, "validation_loss": float(value)})
    best, best_step = min(validation)
    moments = [("untrained", 0.0, 0), ("10 s", 10.2, 17), ("60 s", 60.3, 100), ("end", 144.0, 240)]
    babble = [
        "\u0007Ġzx qq<script>alert(1)</script>\u202eevil Ã©\u00ff 的 ## ```\n``` %%",
        "the the of of return the the\n    of a the",
        "Return the path of the file.\n\n    The file is read with the value of",
        "Return the list of files in the path.\n\nIf *path* is not given, the current directory is "
        "used.\n\n    >>> files('.')\n    ['a.txt', 'b.txt']\n\n返回文件列表。",
    ]  # fmt: skip
    samples = [
        {"when": when, "seconds": s, "step": step, "prompt": prompt, "text": text, "stopped": False}
        for prompt in ("Return the", "class Path")
        for (when, s, step), text in zip(moments, babble, strict=True)
    ]

    def write(directory: Path) -> None:
        (directory / "final").mkdir()
        (directory / "final" / "model.json").write_text("{}")
        write_lines(directory / "curve.jsonl", curve)
        write_lines(directory / "samples.jsonl", samples)

    facts = {
        "steps": 240, "tokens": 240 * 4096, "final_train_loss": 2.31, "best_validation_loss": best,
        "best_step": best_step, "turning_point": best_step if turned else None,
        "final_validation_loss": validation[-1][0], "num_parameters": 12_000,
        "parameter_bytes": 48_000, "seconds": 144.2, "tokens_per_second": 6826.7, "epochs": 0.62,
    }  # fmt: skip
    return make(root, Checkpoint, stage, stage, facts, write)


def make_eval(
    root: Path, label: str, held_out: dict[str, str], *, bits: float, right: float
) -> EvalReport:
    rng = np.random.default_rng(3)
    sizes = np.array([len(text.encode()) for text in held_out.values()])
    nats = sizes * np.log(2) * bits * rng.uniform(0.9, 1.1, len(sizes))
    items = []
    for kind, open_book in (("parameters", True), ("summary", True), ("what_does", False)):
        for i in range(40):
            correct = bool((i * 7) % 40 < 40 * right * (1.0 if open_book else 0.1))
            expected = f"path, mode<{i}>, 编码"
            items.append({
                "id": f"{kind}-{i}", "kind": kind, "open_book": open_book,
                "prompt": f"{HOSTILE}\nSignature: open_{i}(path, mode, 编码=None)\nParameters?",
                "expected": expected, "answer": expected if correct else f"path, {label} & co",
                "correct": correct, "ended": True, "baseline": "path",
                "baseline_correct": i % 5 == 0,
            })  # fmt: skip
    total = float(nats.sum() / np.log(2) / sizes.sum())
    row = {
        "bits_per_byte": total,
        "bits_per_byte_low": total - 0.05, "bits_per_byte_high": total + 0.06,
        "token_perplexity": 31.5, "nats_per_token": 3.45, "tokens": int(sizes.sum() * 0.7),
        "bytes": int(sizes.sum()), "documents": len(sizes),
    }  # fmt: skip
    kinds = sorted({item["kind"] for item in items})
    sft = {
        "response_loss": 0.8,
        "response_tokens": 900,
        "questions": len(items),
        "exact_match": {k: share([i for i in items if i["kind"] == k]) for k in kinds},
        "open_book": share([i for i in items if i["open_book"]]),
        "closed_book": share([i for i in items if not i["open_book"]]),
    }
    report = {
        "checkpoint": label, "perplexity": {**row, "per_source": {"文档": row}}, "sft": sft,
        "generations": [{"prompt": "Return", "greedy": "the", "sampled": HOSTILE}],
        "answers": [],
    }  # fmt: skip

    def write(directory: Path) -> None:
        (directory / "report.json").write_text(json.dumps(report, ensure_ascii=False), "utf-8")
        write_lines(directory / "sft_items.jsonl", items)
        table = {"doc_id": list(held_out), "nats": nats, "bytes": sizes}
        write_table(directory / "documents.arrow", pa.table(table))

    return make(root, EvalReport, "eval", "evaluate", {"bits_per_byte": total}, write, config=label)


def share(items: list[dict[str, Any]]) -> dict[str, Any]:
    correct = sum(item["correct"] for item in items)
    baseline = sum(item["baseline_correct"] for item in items) / len(items)
    rate = correct / len(items)
    return {
        "correct": correct, "total": len(items), "rate": rate, "low": max(0.0, rate - 0.1),
        "high": min(1.0, rate + 0.1), "baseline": baseline,
    }  # fmt: skip


def make_world(root: Path, *, bits: float = 1.4) -> World:
    rng = random.Random(1)
    training = {f"python/module_{i}": sentences(rng, 12) for i in range(40)}
    copied = "\n".join(list(training.values())[0].splitlines()[:8])
    held_out = {f"python/held_{i}": sentences(rng, 5) for i in range(5)}
    held_out["python/held_copy"] = copied
    tokenizer = byte_tokenizer()
    runtime = Runtime()
    columns = {
        "doc_id": list(held_out), "text": list(held_out.values()),
        "source": ["文档"] * len(held_out),
    }  # fmt: skip
    eval_set = make(
        root, EvalSet, "eval-sets", "eval_set", {"documents": len(held_out)},
        lambda d: write_table(d / "documents.arrow", pa.table(columns)), name="pydocs",
    )  # fmt: skip
    corpus = make_corpus(root, training)
    trained = make(
        root, TrainedTokenizer, "tokenizer", "tokenizer",
        {"vocab_size": tokenizer.vocab_size, "bytes_per_token": 1.31}, tokenizer.save,
    )  # fmt: skip
    shards = make_shards(root, training, tokenizer)
    examples = make(
        root, ExampleSet, "examples", "examples",
        {"examples": {"train": 3000, "validation": 100, "held_out": 300}},
    )  # fmt: skip
    base = make_checkpoint(root, "pretrain", turned=False)
    tuned = make_checkpoint(root, "finetune", turned=True)
    config = BaselinesConfig(ppmd_memory_bytes=1 << 24)
    baselines = measure_baselines(
        config, corpus, trained, shards, eval_set, base, root=root, runtime=runtime
    )
    stages = [
        {"stage": n, "title": n, "outcome": o, "seconds": s, "ref": f"{n}@0123456789ab"}
        for n, o, s in (
            ("clean", "reused", 0.2),
            ("pretrain", "built", 151.0),
            ("eval", "built", 22.0),
        )
    ]
    registrations = [
        {
            "name": name, "version": 3, "aliases": ["challenger", "champion"],
            "uri": f"models:/{name}@champion", "reason": "fewer bits than version 2",
            "one_liner": f'mlflow.pyfunc.load_model("models:/{name}@champion")',
        }
        for name in ("pydocs-base", "pydocs")
    ]  # fmt: skip
    run = RunFacts(
        run_id="20261120-204301-3fa9c2", eval_set=eval_set, corpus=corpus, tokenizer=trained,
        shards=shards, examples=examples, base=base, tuned=tuned, baselines=baselines,
        base_eval=make_eval(root, "base", held_out, bits=bits, right=0.3),
        tuned_eval=make_eval(root, "tuned", held_out, bits=bits * 1.05, right=0.8),
        base_hf=make(root, ExportedModel, "export", "export", {"n": 1}),
        tuned_hf=make(root, ExportedModel, "export", "export", {"n": 2}),
        registrations=registrations, stages=stages,
        predictions=[{"title": "pretrain", "seconds": 160.0}],
    )  # fmt: skip
    return World(root, runtime, tokenizer, held_out, training, run)


def losing(world: World) -> RunFacts:
    """The same run with a base model worse than every n-gram."""
    worse = make_eval(world.root, "worse", world.held_out, bits=6.0, right=0.3)
    return replace(world.run, base_eval=worse)
