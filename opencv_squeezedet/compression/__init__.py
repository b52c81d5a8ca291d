"""Deep Compression (Han, Mao and Dally, arXiv:1510.00149): pruning, weight sharing, Huffman coding.

`compress` takes a model and returns the content of a ``.sdz`` file, with a table of what each layer takes. The stages are
functions of their own: `prune`, `share`, and `formats.sdz_bytes`, which encodes any weights.
"""

from opencv_squeezedet.compression.compress import Compressed, Settings, compress, measure_sensitivity
from opencv_squeezedet.compression.pruning import prune
from opencv_squeezedet.compression.reference_outputs import ReferenceOutputs, input_hessians
from opencv_squeezedet.compression.sharing import share
from opencv_squeezedet.compression.table import textbook_ratio

__all__ = [
    "Compressed",
    "ReferenceOutputs",
    "Settings",
    "compress",
    "input_hessians",
    "measure_sensitivity",
    "prune",
    "share",
    "textbook_ratio",
]
