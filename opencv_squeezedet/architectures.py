"""The public name of `opencv_squeezedet.network.architectures`."""

from opencv_squeezedet.network.architectures import *  # noqa: F403
