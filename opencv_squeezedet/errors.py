"""The package's own errors."""


class ModelError(ValueError):
    """The files of a model cannot be read, or do not fit each other."""
