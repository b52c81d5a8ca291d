"""The package's own errors."""


class ModelError(ValueError):
    """The files of a model cannot be read, or do not fit each other."""


class FetchError(OSError):
    """Published weights cannot be fetched, or the file received is not the published one."""


class UnknownLayerError(ModelError):
    """A network has a layer, or a layer option, that `opencv_squeezedet.network` cannot describe."""
