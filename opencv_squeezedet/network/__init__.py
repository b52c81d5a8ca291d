"""Networks as data: layers and graphs, the family's architectures, and what a network says about its head."""

from typing import TYPE_CHECKING

from opencv_squeezedet.network.graph import Network as Network
from opencv_squeezedet.network.graph import Step as Step
from opencv_squeezedet.network.graph import Weights as Weights
from opencv_squeezedet.network.layers import *  # noqa: F403
from opencv_squeezedet.network.layers import LAYERS as LAYERS
from opencv_squeezedet.network.layers import Layer as Layer
from opencv_squeezedet.network.layers import Pair as Pair
from opencv_squeezedet.network.layers import Shape as Shape
from opencv_squeezedet.network.layers import shortest as shortest

if not TYPE_CHECKING:  # a type checker takes every public name
    __all__ = ["Layer", "Network", "Pair", "Shape", "Step", "Weights", "shortest", *LAYERS]
