"""Fan-out over light worker processes, and over any other `concurrent.futures` executor.

A local pool whose child is killed is broken for good, so `run_jobs` rebuilds it and resubmits what
was unfinished, three times at most. Worker modules load neither torch nor prefect.
"""

import multiprocessing
import multiprocessing.forkserver
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.store.errors import ArtifactError, ConfigError

Job = TypeVar("Job")
Result = TypeVar("Result")
MAX_RESUBMISSIONS = 3
NOTHING_CHOSEN = ["__main__"]
"""What the server of workers loads unless told otherwise."""


class InlineExecutor(Executor):
    """Runs each job at once in the calling process."""

    def submit(
        self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any
    ) -> "Future[Result]":  # fmt: skip
        """Run now; the result or the exception is in the returned future."""
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed to the caller by Future.result, as every executor does
            future.set_exception(error)
        return future


@contextmanager
def process_pool(workers: int, preload: Sequence[str] = ()) -> Iterator[Executor]:
    """A forkserver pool: no inherited threads or locks, cheap children; inline for 1 worker.

    The first pool of a process decides which modules the children of all its pools find loaded.
    """
    if workers <= 1:
        yield InlineExecutor()
        return
    _refuse_unguarded_script()
    start_server(preload)
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _refuse_unguarded_script() -> None:
    """ConfigError where every worker would run the caller's whole script again, and die of it.

    A worker imports the script that started it, under another name than `__main__`: that is what
    `multiprocessing` does wherever processes are not forked from the caller itself.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file is None or getattr(main, "__spec__", None) is not None:
        return  # a notebook, a prompt, `python -c`, or `python -m`, which workers do not run again
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return  # no script that a worker could read either
    if "__name__" not in text:
        raise ConfigError(
            f"{file} starts worker processes, which would each run the whole script again; put its "
            'calls below `if __name__ == "__main__":`, or set runtime.workers to 1'
        )


def start_server(preload: Sequence[str]) -> None:
    """Start what workers are forked from, unless it runs; it loads `preload` while we go on.

    Where the application has chosen modules for its own processes, these are loaded instead.
    """
    server = multiprocessing.forkserver._forkserver
    if getattr(server, "_preload_modules", NOTHING_CHOSEN) == NOTHING_CHOSEN:
        server.set_forkserver_preload([*NOTHING_CHOSEN, *preload])
    server.ensure_running()


class HasExecutor(Protocol):
    """Anything that can open an executor; a Runtime in practice."""

    def executor(self) -> AbstractContextManager[Executor]:
        """Open an executor for the length of a with-block."""


def run_jobs(
    runtime: HasExecutor,
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    done: Callable[[int, int], None] = lambda finished, total: None,
) -> list[Result]:
    """Apply `function` to every job in worker processes; results come in the order of `jobs`.

    Raises the first job's own exception unchanged, and ArtifactError when workers keep dying.
    """
    results: dict[int, Result] = {}
    for _attempt in range(MAX_RESUBMISSIONS + 1):
        with runtime.executor() as pool:
            futures = {
                i: pool.submit(function, job) for i, job in enumerate(jobs) if i not in results
            }
            broken = False
            for i, future in futures.items():
                try:
                    results[i] = future.result()
                    done(len(results), len(jobs))
                except BrokenProcessPool:
                    broken = True
        if not broken:
            return [results[i] for i in range(len(jobs))]
    raise ArtifactError(
        f"worker processes died {MAX_RESUBMISSIONS + 1} times with {len(jobs) - len(results)} of "
        f"{len(jobs)} jobs unfinished; memory may be short: lower runtime.workers and rerun"
    )
