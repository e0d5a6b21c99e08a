"""How the suite is spread over several processes (`make test` and `make test-all`)."""

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread each, in what they start too; read when torch and NumPy are first imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

LONGEST = ("tests/flows/test_soak.py", "tests/flows/test_zombies.py", "tests/flows/test_killing.py")
"""Files that would still keep one process busy when the others have ended: they come first."""
SECONDS_OF_LONG_TESTS = 900
"""Their limit, on machines several times slower than ours; the others have that of pytest's
settings."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SECONDS_OF_LONG_TESTS))
