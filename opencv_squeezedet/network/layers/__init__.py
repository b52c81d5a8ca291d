"""A network's layers in Caffe's terms, one module per family. A layer is described by its class alone.

Every name in a family's ``__all__`` is also exported here and in `opencv_squeezedet.network`.
"""

# ruff: noqa: F403
from opencv_squeezedet.network.layers import (
    activation,
    combining,
    convolution,
    elementwise,
    normalizing,
    pooling,
    regions,
    reshaping,
    ssd,
)
from opencv_squeezedet.network.layers.activation import *
from opencv_squeezedet.network.layers.base import MOST_BLOB as MOST_BLOB
from opencv_squeezedet.network.layers.base import MOST_LENGTH as MOST_LENGTH
from opencv_squeezedet.network.layers.base import Layer as Layer
from opencv_squeezedet.network.layers.base import shortest as shortest
from opencv_squeezedet.network.layers.combining import *
from opencv_squeezedet.network.layers.convolution import *
from opencv_squeezedet.network.layers.elementwise import *
from opencv_squeezedet.network.layers.interfaces import OptionError as OptionError
from opencv_squeezedet.network.layers.interfaces import Pair as Pair
from opencv_squeezedet.network.layers.interfaces import Shape as Shape
from opencv_squeezedet.network.layers.normalizing import *
from opencv_squeezedet.network.layers.pooling import *
from opencv_squeezedet.network.layers.regions import *
from opencv_squeezedet.network.layers.reshaping import *
from opencv_squeezedet.network.layers.ssd import *

LAYERS: dict[str, type[Layer]] = {
    name: getattr(family, name)
    for family in (activation, combining, convolution, elementwise, normalizing, pooling, regions, reshaping, ssd)
    for name in family.__all__
}
"""Every layer by its name, which is its type in Caffe's files, unless `Layer.caffe_type` gives another."""
