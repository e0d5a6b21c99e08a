"""The workers of a Dask cluster as a `concurrent.futures` executor; needs the package distributed.

    dask_executor("tcp://scheduler:8786") -> an executor on a cluster that runs already
    dask_executor(None, workers=2)        -> the same on a cluster of local processes, for as long

Jobs and results are small values; parts travel through files, so every worker must see the root at
the same path and have this project installed.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from pipeline.store.errors import ArtifactError, ConfigError

Result = TypeVar("Result")
CONNECT_SECONDS = 30.0


class DaskExecutor(Executor):
    """Submits to a cluster, whose scheduler hands the jobs of a dead worker to the others.

    A job that has cost four workers their lives fails with an ArtifactError.
    """

    def __init__(self, executor: Executor, killed: type[Exception]) -> None:
        self._executor = executor
        self._killed = killed

    def submit(
        self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any
    ) -> "Future[Result]":  # fmt: skip
        """Run on some worker."""
        outcome: Future[Result] = Future()
        running = self._executor.submit(fn, *args, **kwargs)

        def settle(done: "Future[Result]") -> None:
            if done.cancelled():
                outcome.set_exception(BrokenProcessPool("the job was cancelled: its cluster ended"))
                return
            error = done.exception()
            if isinstance(error, self._killed):
                outcome.set_exception(
                    ArtifactError(
                        f"Dask workers died again and again on one job ({error}); memory may be "
                        "short: give them more, or lower their number on each machine"
                    )
                )
            elif error is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(done.result())

        running.add_done_callback(settle)
        return outcome


@contextmanager
def dask_executor(scheduler: str | None, *, workers: int) -> Iterator[Executor]:
    """An executor for the length of a with-block.

    Raises ConfigError if distributed is absent, the scheduler does not answer, no worker is
    there, or one runs more than one job at a time.
    """
    try:
        import distributed  # here: optional, and nobody else needs it
    except ImportError as error:
        raise ConfigError(
            "runtime.executor: dask needs a package that is not installed; pip install distributed"
        ) from error
    # Its own handlers are silenced below; what it hands upwards would fill the terminal.
    logging.getLogger("distributed").setLevel(logging.ERROR)
    if scheduler is None:
        cluster = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, memory_limit=None,
            silence_logs=logging.ERROR,
        )  # fmt: skip
        with cluster, distributed.Client(cluster) as client:
            yield DaskExecutor(client.get_executor(pure=False), distributed.KilledWorker)
        return
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(
            f"runtime.dask_scheduler={scheduler}: no scheduler answers there ({error}); start one "
            "with `dask scheduler` and workers with `dask worker --nthreads 1 ADDRESS`"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)  # those that died may come back
        except TimeoutError as error:
            raise ConfigError(
                f"runtime.dask_scheduler={scheduler}: no worker is connected; start some with "
                f"`dask worker --nthreads 1 {scheduler}`"
            ) from error
        _check_workers(client.scheduler_info(n_workers=-1)["workers"])
        yield DaskExecutor(client.get_executor(pure=False), distributed.KilledWorker)


def _check_workers(known: dict[str, Any]) -> None:
    # Reading and cleaning set limits per process, such as the longest field of a CSV file.
    shared = sorted(name for name, facts in known.items() if facts.get("nthreads", 1) > 1)
    if shared:
        raise ConfigError(
            f"the Dask worker {shared[0]} runs {known[shared[0]]['nthreads']} jobs at a time, ours "
            "need a process each; start workers with `--nthreads 1 --nworkers N`"
        )
