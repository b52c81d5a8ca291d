"""The package's own errors, and the message of any error on one line."""


class ModelError(ValueError):
    """The files of a model cannot be read, or are inconsistent."""


class FetchError(OSError):
    """Published weights cannot be fetched, or the received file is not the published file."""


class UnknownLayerError(ModelError):
    """A network has a layer, or a layer option, that `opencv_squeezedet.network` cannot describe."""


def reason(error: Exception) -> str:
    """Return the message of an exception on one line; its type if it has none."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
