"""The package's own errors."""


class ModelError(ValueError):
    """The files of a model cannot be read, or do not fit each other."""


class FetchError(OSError):
    """Published weights cannot be had, or what came is not what was published."""


class UnknownLayerError(ModelError):
    """A network has a layer, or an option of one, that `opencv_squeezedet.network` has no description of."""
