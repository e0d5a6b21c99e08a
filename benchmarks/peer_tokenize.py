"""JSON Lines to token files as the peers do it, from their public interfaces; runs beside them.

    python peer_tokenize.py METHOD FOLDER OUT TOKENIZER      TOKENIZER: tokenizer.json + .tiktoken

Needs nothing of ours. Each method ends in files a trainer could read, one end token per document,
and prints the number of ordinary tokens where it knows it.
"""

import base64
import functools
import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

WORKERS = 2
ROW = 1024


@functools.cache
def encoding(tokenizer: str) -> Any:
    """The tiktoken encoding of the artifact."""
    import tiktoken

    facts = json.loads((Path(tokenizer) / "tokenizer.json").read_text())
    ranks = {}
    for line in (Path(tokenizer) / "tokenizer.tiktoken").read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    return tiktoken.Encoding(
        "measured", pat_str=facts["pattern"], mergeable_ranks=ranks, special_tokens={}
    )


def end_token(tokenizer: str) -> int:
    """The id after the ranks."""
    return int(encoding(tokenizer).n_vocab)


def texts(path: Path) -> Iterator[str]:
    """The documents of one file."""
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)["text"]


def pool(folder: Path, out: Path, tokenizer: str) -> None:
    """Plain tiktoken, the whole bound: one process per file, ids appended to one .bin each."""
    with multiprocessing.get_context("fork").Pool(WORKERS) as workers:
        jobs = [(path, out / f"{path.stem}.bin", tokenizer) for path in sorted(folder.iterdir())]
        print(sum(workers.map(_one_file, jobs)))


def _one_file(job: tuple[Path, Path, str]) -> int:
    path, target, tokenizer = job
    end = np.array([end_token(tokenizer)], np.uint16)
    count = 0
    with target.open("wb") as file:
        for text in texts(path):
            ids = encoding(tokenizer).encode_to_numpy(text, disallowed_special=())
            file.write(ids.astype(np.uint16).tobytes() + end.tobytes())
            count += len(ids)
    return count


def nanogpt(folder: Path, out: Path, tokenizer: str) -> None:
    """datasets.map to lists of ids with their length, then one memory map written in pieces."""
    import datasets

    data = datasets.load_dataset(
        "json", data_files=[str(p) for p in sorted(folder.iterdir())], split="train",
        cache_dir=str(out / "cache"),
    )  # fmt: skip

    def process(row: dict[str, Any]) -> dict[str, Any]:
        ids = encoding(tokenizer).encode_ordinary(row["text"])
        ids.append(end_token(tokenizer))
        return {"ids": ids, "len": len(ids)}

    tokens = data.map(process, remove_columns=data.column_names, num_proc=WORKERS)
    total = int(np.sum(tokens["len"], dtype=np.uint64))
    flat = np.memmap(out / "train.bin", dtype=np.uint16, mode="w+", shape=(total,))
    at, pieces = 0, 64
    for i in range(pieces):
        piece = tokens.shard(num_shards=pieces, index=i, contiguous=True).with_format("numpy")
        if len(piece):
            ids = np.concatenate(piece["ids"])
            flat[at : at + len(ids)] = ids
            at += len(ids)
    flat.flush()
    print(total - len(tokens))


def hf_map(folder: Path, out: Path, tokenizer: str) -> None:
    """datasets.map in batches, saved to disk as Arrow."""
    import datasets

    data = datasets.load_dataset(
        "json", data_files=[str(p) for p in sorted(folder.iterdir())], split="train",
        cache_dir=str(out / "cache"),
    )  # fmt: skip

    def process(rows: dict[str, Any]) -> dict[str, Any]:
        end = [end_token(tokenizer)]
        return {"ids": [encoding(tokenizer).encode_ordinary(t) + end for t in rows["text"]]}

    tokens = data.map(process, batched=True, remove_columns=data.column_names, num_proc=WORKERS)
    tokens.save_to_disk(str(out / "tokens"))


def datatrove(folder: Path, out: Path, tokenizer: str) -> None:
    """JsonlReader and DocumentTokenizer with the Hugging Face form of the same vocabulary."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    LocalPipelineExecutor(
        pipeline=[
            JsonlReader(str(folder)),
            DocumentTokenizer(
                output_folder=str(out / "tokens"), eos_token="<|eos|>", shuffle_documents=False,
                tokenizer_name_or_path=str(Path(tokenizer) / "hf" / "tokenizer.json"),
            ),
        ],
        tasks=2, workers=WORKERS, logging_dir=str(out / "logs"),
    ).run()  # fmt: skip


def litdata(folder: Path, out: Path, tokenizer: str) -> None:
    """optimize() over the files with a TokensLoader of rows of 1,025."""
    from litdata import TokensLoader, optimize

    optimize(
        fn=functools.partial(_tensors, tokenizer=tokenizer),
        inputs=[str(path) for path in sorted(folder.iterdir())],
        output_dir=str(out / "tokens"), chunk_bytes="64MB", num_workers=WORKERS,
        item_loader=TokensLoader(block_size=ROW + 1),
    )  # fmt: skip


def _tensors(path: str, tokenizer: str) -> Iterator[Any]:
    import torch

    end = end_token(tokenizer)
    for text in texts(Path(path)):
        yield torch.tensor([*encoding(tokenizer).encode_ordinary(text), end], dtype=torch.int32)


def mds(folder: Path, out: Path, tokenizer: str) -> None:
    """MDSWriter, rows of 1,025 ids cut from the concatenated documents, one process per file."""
    jobs = [(path, out / path.stem, tokenizer) for path in sorted(folder.iterdir())]
    with multiprocessing.get_context("fork").Pool(WORKERS) as workers:
        workers.map(_mds_file, jobs)


def _mds_file(job: tuple[Path, Path, str]) -> None:
    # Its image data sets want a torchvision built for this very torch; nothing here uses them.
    sys.modules["streaming.vision"] = ModuleType("streaming.vision")
    from streaming import MDSWriter

    path, target, tokenizer = job
    end, waiting = end_token(tokenizer), np.empty(0, np.uint16)
    with MDSWriter(out=str(target), columns={"tokens": "ndarray:uint16"}) as writer:
        for text in texts(path):
            ids = encoding(tokenizer).encode_ordinary(text)
            ids.append(end)
            waiting = np.concatenate([waiting, np.array(ids, np.uint16)])
            whole = len(waiting) // (ROW + 1) * (ROW + 1)
            for row in waiting[:whole].reshape(-1, ROW + 1):
                writer.write({"tokens": row})
            waiting = waiting[whole:]


METHODS: dict[str, Callable[[Path, Path, str], None]] = {
    "pool": pool, "nanogpt": nanogpt, "hf_map": hf_map, "datatrove": datatrove,
    "litdata": litdata, "mds": mds,
}  # fmt: skip

if __name__ == "__main__":
    METHODS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
