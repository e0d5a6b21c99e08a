"""Batches of 8 rows of 1,024 tokens, input and target, as the peers read them; runs beside them.

    python peer_loader.py METHOD STREAM.bin FOLDER BATCHES     five times microseconds per batch

STREAM.bin is the flat uint16 token stream; FOLDER keeps each peer's own form of it. Every loader
shuffles globally if it can, reads with one process, and ends in two int64 torch tensors.
"""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

B, T = 8, 1024
REPEATS = 5
Batch = tuple[torch.Tensor, torch.Tensor]


def windows(stream: Path) -> np.ndarray:
    """All rows of T + 1 tokens that do not overlap, (N, T + 1)."""
    flat = np.memmap(stream, dtype=np.uint16, mode="r")
    return flat[: len(flat) // (T + 1) * (T + 1)].reshape(-1, T + 1)


def halves(rows: torch.Tensor) -> Batch:
    """Inputs and targets of (B, T + 1) rows."""
    return rows[:, :-1], rows[:, 1:]


def nanogpt(stream: Path, folder: Path) -> Iterator[Batch]:
    """Random offsets, the memory map opened anew for each batch, as its train.py does."""
    while True:
        data = np.memmap(stream, dtype=np.uint16, mode="r")
        starts = torch.randint(len(data) - T, (B,)).tolist()
        x = torch.stack([torch.from_numpy(data[i : i + T].astype(np.int64)) for i in starts])
        y = torch.stack(
            [torch.from_numpy(data[i + 1 : i + T + 1].astype(np.int64)) for i in starts]
        )
        yield x, y


def litdata(stream: Path, folder: Path) -> Iterator[Batch]:
    """StreamingDataset with a TokensLoader and global shuffle, StreamingDataLoader."""
    from litdata import StreamingDataLoader, StreamingDataset, TokensLoader, optimize

    if not (folder / "index.json").is_file():
        optimize(
            fn=torch.from_numpy,
            inputs=pieces(stream),
            output_dir=str(folder),
            chunk_bytes="64MB",
            num_workers=1,
            item_loader=TokensLoader(block_size=T + 1),
        )
    loader = TokensLoader(block_size=T + 1)
    data = StreamingDataset(str(folder), item_loader=loader, shuffle=True, drop_last=True)
    while True:
        for rows in StreamingDataLoader(data, batch_size=B, num_workers=0, drop_last=True):
            yield halves(rows.to(torch.int64))


def pieces(stream: Path) -> list[np.ndarray]:
    """The stream in a few hundred int32 arrays."""
    flat = np.memmap(stream, dtype=np.uint16, mode="r")
    return [np.array(part, np.int32) for part in np.array_split(flat, max(1, len(flat) >> 16))]


def mosaicml(stream: Path, folder: Path) -> Iterator[Batch]:
    """StreamingDataset over MDS rows with its default shuffle, torch's DataLoader."""
    # Its image data sets want a torchvision built for this very torch; nothing here uses them.
    sys.modules["streaming.vision"] = ModuleType("streaming.vision")
    from streaming import MDSWriter, StreamingDataset
    from torch.utils.data import DataLoader

    if not (folder / "index.json").is_file():
        with MDSWriter(out=str(folder), columns={"tokens": "ndarray:uint16"}) as writer:
            for row in windows(stream):
                writer.write({"tokens": np.array(row)})
    data = StreamingDataset(local=str(folder), shuffle=True, batch_size=B)

    def joined(rows: list[dict[str, Any]]) -> Batch:
        tokens = np.stack([row["tokens"] for row in rows]).astype(np.int64)
        return halves(torch.from_numpy(tokens))

    while True:
        yield from DataLoader(data, batch_size=B, collate_fn=joined, drop_last=True)


class Rows:
    """Windows by number, for grain."""

    def __init__(self, stream: Path) -> None:
        self.rows = windows(stream)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.rows[number].astype(np.int64)


def grain(stream: Path, folder: Path) -> Iterator[Batch]:
    """MapDataset over the memory map: shuffle, repeat, batch."""
    import grain.python as pygrain

    data = pygrain.MapDataset.source(Rows(stream)).shuffle(seed=0).repeat().batch(B)
    for rows in itertools.count():
        yield halves(torch.from_numpy(data[rows]))


def huggingface(stream: Path, folder: Path) -> Iterator[Batch]:
    """datasets rows in torch format, DataLoader with shuffle."""
    import datasets
    from torch.utils.data import DataLoader

    if not (folder / "state.json").is_file():

        def rows() -> Iterator[dict[str, Any]]:
            for row in windows(stream):
                yield {"tokens": row}

        kind = datasets.Features({"tokens": datasets.Sequence(datasets.Value("uint16"), T + 1)})
        made = datasets.Dataset.from_generator(rows, features=kind, cache_dir=str(folder / "cache"))
        made.save_to_disk(str(folder))
    data = datasets.load_from_disk(str(folder)).with_format("numpy")

    def joined(rows: list[dict[str, Any]]) -> Batch:
        return halves(torch.from_numpy(np.stack([row["tokens"] for row in rows]).astype(np.int64)))

    while True:
        yield from DataLoader(data, batch_size=B, shuffle=True, collate_fn=joined, drop_last=True)


METHODS: dict[str, Callable[[Path, Path], Iterator[Batch]]] = {
    "nanogpt": nanogpt, "litdata": litdata, "mosaicml": mosaicml, "grain": grain,
    "huggingface": huggingface,
}  # fmt: skip


def main() -> None:
    """Time batches after a warm-up."""
    torch.set_num_threads(1)
    method, stream, folder, count = sys.argv[1:]
    home = Path(folder) / method
    home.mkdir(parents=True, exist_ok=True)
    batches = METHODS[method](Path(stream), home)
    shape = next(batches)[1].shape
    assert shape == (B, T), shape
    for _ in range(50):
        next(batches)
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(int(count)):
            next(batches)
        print(f"{(time.perf_counter() - start) / int(count) * 1e6:.2f}", flush=True)


if __name__ == "__main__":
    main()
