"""The next batches, made by a thread while the device works on this one.

A thread, not a process: a worker process with shared-memory arrays was measured 13 times slower.
"""

import queue
import threading
from types import TracebackType
from typing import Self

from pipeline.tokens.batches import ArrayBatch, Batches
from pipeline.tokens.position import LoaderState


class Prefetched:
    """Batches `start`, `start` + 1, ... of `batches`, up to `depth` of them made ahead.

    Batches made but not yet taken are not state: `step` is the number of the next batch handed out,
    and resuming from it gives the same sequence. `batches` belongs to the thread until `close`.
    """

    def __init__(
        self, batches: Batches, *, start: int = 0, stop: int | None = None, depth: int = 2
    ) -> None:
        """Begin making batches `start` to `stop` (None: without end)."""
        self.step = start
        self._stop = stop
        self._batches = batches
        self._depth = max(1, depth)
        self._ready: queue.SimpleQueue[ArrayBatch | BaseException | None] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()  # one entry per batch to be made
        for _ in range(self._depth):
            self._room.put(None)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        # The one handed out, and those that wait or are being written: none is ever overwritten.
        ring = [self._batches.buffers() for _ in range(self._depth + 1)]
        step = self.step
        item: ArrayBatch | BaseException | None
        while True:
            self._room.get()
            if self._closed.is_set():
                return
            if self._stop is not None and step >= self._stop:
                item = None
            else:
                try:
                    item = self._batches.batch(step, ring[step % len(ring)])
                except BaseException as error:  # noqa: BLE001 - raised again in next()
                    item = error
            self._ready.put(item)
            if not isinstance(item, dict):
                return
            step += 1

    @property
    def state(self) -> LoaderState:
        """What to save to go on with the batch `step`; those made ahead are not counted."""
        return self._batches.state(self.step)

    def __iter__(self) -> Self:
        """Itself."""
        return self

    def __next__(self) -> ArrayBatch:
        """The batch `step`, valid until the next call; errors of the thread are raised here."""
        if self._closed.is_set():
            raise StopIteration
        item = self._ready.get()
        if isinstance(item, dict):
            self.step += 1
            self._room.put(None)  # the batch handed out before this one is no longer anyone's
            return item
        self.close()
        if item is None:
            raise StopIteration
        raise item

    def close(self) -> None:
        """Stop the thread; also done on leaving a with-block."""
        self._closed.set()
        self._room.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the thread."""
        self.close()
