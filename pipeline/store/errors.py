"""The errors a user may see, with the exit code each one ends `mill` with.

    MillError
    +-- ConfigError    2  the settings cannot be carried out
    +-- DataError      3  the input cannot be used
    +-- ArtifactError  4  something we wrote is damaged, locked or of another kind
    |   +-- NotBuilt      an artifact is needed that this run may not build
    +-- TrainingError  5  training cannot go on

A message names the value, the limit and the remedy. Prefect never retries a MillError.
"""


class MillError(Exception):
    """Base of every error that is the user's to solve; printed without a traceback."""

    exit_code = 1


class ConfigError(MillError):
    """The configuration is wrong or cannot be carried out on this machine."""

    exit_code = 2


class DataError(MillError):
    """The input data is missing, empty or unusable."""

    exit_code = 3


class ArtifactError(MillError):
    """An artifact is damaged, unfinished, locked by another run or of the wrong kind."""

    exit_code = 4


class NotBuilt(ArtifactError):
    """An artifact is missing and `Runtime.may_build` is False."""


class TrainingError(MillError):
    """Training cannot continue: non-finite loss, no memory, no usable checkpoint."""

    exit_code = 5
