"""When Prefect's API goes away in the middle of a run.

Tasks run on without it and every finished stage is on disk, so the run need not fail: the graph is
carried on without Prefect. What ended the run for a reason of its own ends it for that reason.
"""

from collections.abc import Iterator

import httpx
from prefect.exceptions import PrefectHTTPStatusError

from pipeline.store.errors import MillError

HTTP_SERVER_ERROR = 500


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from or during, newest first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def own_reason(error: BaseException) -> BaseException | None:
    """The user's error, or the request to end, whose report found the API gone; None if neither."""
    for cause in chain(error):
        if isinstance(cause, MillError | SystemExit | KeyboardInterrupt):
            return cause
    return None


def is_outage(error: BaseException) -> bool:
    """Whether a call to the API got no answer, or an answer that means "not now"."""
    for cause in chain(error):
        if isinstance(cause, httpx.TransportError):
            return True
        if isinstance(cause, PrefectHTTPStatusError):
            return cause.response.status_code >= HTTP_SERVER_ERROR
    return "Failed to reach API" in str(error)
