"""The public name of `opencv_squeezedet.network.head`."""

from opencv_squeezedet.network.head import *  # noqa: F403
