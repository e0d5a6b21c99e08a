"""Prefect's log lines, as a person wants them: a user's mistake is one line."""

import logging
from typing import Any

from prefect.events.worker import EventsWorker

from flows.failure import RunFailed
from flows.outage import is_outage
from pipeline.store.errors import MillError
from pipeline.store.secrets import redacted

DRAIN_SECONDS = 5.0
_make_record = logging.getLogRecordFactory()


def _record_without_traceback(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = _make_record(*args, **kwargs)
    error = record.exc_info[1] if record.exc_info else None
    reason = error.__cause__ if isinstance(error, RunFailed) else error
    if isinstance(reason, MillError):
        record.exc_info = None
        record.msg, record.args = "error: %s", (redacted(str(error)),)
    elif record.name.startswith("prefect") and error is not None and is_outage(error):
        record.exc_info = None
        record.msg, record.args = "Prefect's API does not answer (%s)", (str(error),)
    return record


def quiet_user_errors() -> None:
    """From now on a logged MillError or a lost server is one line; all other exceptions in full."""
    logging.setLogRecordFactory(_record_without_traceback)


def tell_prefect_the_rest() -> None:
    """Send the log lines and events still queued, before the server they go to is stopped."""
    logging.raiseExceptions = False  # "Error logging to API", should it be gone already
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        for handler in logging.getLogger(name).handlers:
            handler.flush()
    EventsWorker.drain_all(timeout=DRAIN_SECONDS)
