"""Networks that know no probability: tensors of one shape in, tensors of another shape out."""

from lowerbound.nn.conv import ConvDecoder, ConvEncoder
from lowerbound.nn.mlp import MLP
from lowerbound.nn.resnet import ResNetDecoder, ResNetEncoder

__all__ = ["MLP", "ConvDecoder", "ConvEncoder", "ResNetDecoder", "ResNetEncoder"]
