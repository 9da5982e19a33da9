"""Networks that know no probability: tensors of one shape in, tensors of another shape out."""

from .affine import AffineMLP
from .block import ConvBlock
from .cells import CellDecoder, CellEncoder
from .conv import ConvDecoder, ConvEncoder
from .mlp import MLP
from .parts import PartsDecoder, PartsEncoder
from .resnet import ResNetDecoder, ResNetEncoder

# Networks that read what they are given whole, by the names that files and options use.
ENCODERS = {"mlp": MLP, "conv": ConvEncoder, "resnet": ResNetEncoder}

__all__ = [
    "ENCODERS",
    "MLP",
    "AffineMLP",
    "CellDecoder",
    "CellEncoder",
    "ConvBlock",
    "ConvDecoder",
    "ConvEncoder",
    "PartsDecoder",
    "PartsEncoder",
    "ResNetDecoder",
    "ResNetEncoder",
]
