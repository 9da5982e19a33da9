"""Networks that know no probability: tensors of one shape in, tensors of another shape out."""

from .conv import ConvDecoder, ConvEncoder
from .mlp import MLP
from .resnet import ResNetDecoder, ResNetEncoder

__all__ = ["MLP", "ConvDecoder", "ConvEncoder", "ResNetDecoder", "ResNetEncoder"]
