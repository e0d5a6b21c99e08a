"""The errors of the model floor; the floors above translate them into their own.

ValueError
+-- ModelError            value, limit, remedy in one sentence
    +-- ContextLengthError  more positions than the model has
    +-- WeightsError        a weights file or configuration that cannot be used
"""


class ModelError(ValueError):
    """A model cannot do what was asked."""


class ContextLengthError(ModelError):
    """A sequence is longer than the model's context."""


class WeightsError(ModelError):
    """Stored weights are missing, damaged, of another shape, or in a format we refuse to read."""
