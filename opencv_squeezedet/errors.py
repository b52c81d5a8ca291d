"""The package's own errors."""


class ModelError(ValueError):
    """The files of a model cannot be read, or do not fit each other."""


class FetchError(OSError):
    """Published weights cannot be had, or what came is not what was published."""
