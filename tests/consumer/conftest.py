"""The small run, for consumers who have none of our code."""

from tests.flows.conftest import small_run

__all__ = ["small_run"]
