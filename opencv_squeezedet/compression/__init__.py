"""Deep Compression (Han, Mao and Dally, arXiv:1510.00149): pruning, shared weights, Huffman's code.

A network from the description of its layers goes in, the content of a ``.sdz`` file comes out, with a table of what each layer
takes. The stages are functions of their own: `prune`, `share`, and `formats.sdz_bytes`, which codes whatever it gets.
"""

from opencv_squeezedet.compression.compress import Compressed, Settings, compress, measure_sensitivity
from opencv_squeezedet.compression.outputs import Outputs, layer_moments
from opencv_squeezedet.compression.pruning import prune
from opencv_squeezedet.compression.sharing import share
from opencv_squeezedet.compression.table import textbook_ratio

__all__ = [
    "Compressed",
    "Outputs",
    "Settings",
    "compress",
    "layer_moments",
    "measure_sensitivity",
    "prune",
    "share",
    "textbook_ratio",
]
