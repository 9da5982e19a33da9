"""pythae's losses at weights and noise that are given to it; see ``oracle_parity.py``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from pythae import models
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder, BaseMetric
from torch import Tensor, nn

torch.set_default_dtype(torch.float64)


class Encoder(BaseEncoder):
    """One hidden layer, and two outputs of which pythae makes what its model is about."""

    def __init__(self, given: dict[str, Tensor], second: str) -> None:
        super().__init__()
        self.w1, self.b1, self.w2, self.b2 = (nn.Parameter(given[f"encoder_{i}"]) for i in range(4))
        self.second = second

    def forward(self, x: Tensor) -> ModelOutput:
        """Return the two."""
        h = torch.tanh(x.flatten(1) @ self.w1.T + self.b1) @ self.w2.T + self.b2
        first, second = h.chunk(2, -1)
        if self.second == "log_concentration":
            return ModelOutput(embedding=first, log_concentration=second[:, :1])
        if self.second == "ball":  # a point within the ball
            first = (
                torch.tanh(first.norm(dim=-1, keepdim=True) / 2) * first / first.norm(dim=-1, keepdim=True)
            )
        return ModelOutput(embedding=first, log_covariance=second)


class Decoder(BaseDecoder):
    """One hidden layer; probabilities, logits or means."""

    def __init__(self, given: dict[str, Tensor], output: str) -> None:
        super().__init__()
        self.w1, self.b1, self.w2, self.b2 = (nn.Parameter(given[f"decoder_{i}"]) for i in range(4))
        self.output, self.shape = output, tuple(given["x"].shape[1:])

    def forward(self, z: Tensor) -> ModelOutput:
        """Return the reconstruction."""
        h = torch.tanh(z @ self.w1.T + self.b1) @ self.w2.T + self.b2
        h = torch.sigmoid(h) if self.output == "probabilities" else h
        return ModelOutput(reconstruction=h.reshape(-1, *self.shape))


class Critic(BaseDiscriminator):
    """An affine critic after features; for codes the features are these themselves."""

    def __init__(self, given: dict[str, Tensor], name: str, last: nn.Module) -> None:
        super().__init__()
        self.w, self.b, self.last = given[f"{name}_0"], given[f"{name}_1"], last
        self.trunk = given.get(f"{name}_trunk")

    def forward(self, x: Tensor, output_layer_levels: Any = None) -> Any:
        """Return the verdict, or features."""
        x = x.flatten(1) if self.trunk is None else x.flatten(1) @ self.trunk.T
        if output_layer_levels is not None:
            return {f"embedding_layer_{output_layer_levels[0]}": x}
        return ModelOutput(embedding=self.last(x @ self.w.T + self.b))


class Roots(BaseMetric):
    """RHVAE's metric network: of each example of the batch the root that is given."""

    def __init__(self, given: dict[str, Tensor]) -> None:
        super().__init__()
        self.roots = nn.Parameter(given["roots"])

    def forward(self, x: Tensor) -> ModelOutput:
        """Return them."""
        return ModelOutput(L=self.roots)


class Pair(nn.Module):
    """FactorVAE's critic: two scores."""

    def __init__(self, given: dict[str, Tensor]) -> None:
        super().__init__()
        self.w, self.b = given["pair_0"], given["pair_1"]

    def forward(self, z: Tensor) -> Tensor:
        """Return them."""
        return z @ self.w.T + self.b


class Model:
    """One model at given weights.

    Args:
        given: An .npz file with x, the networks' weights, and noise.
        model: Its class in pythae.
        config: Options of its configuration.
        output: What its decoder gives.
        second: What the encoder's second output is.
        extra: Further parameters by name, names of arrays in the file.
    """

    def __init__(
        self,
        given: str,
        model: str,
        config: dict[str, Any],
        output: str = "probabilities",
        second: str = "log_covariance",
        extra: dict[str, str] | None = None,
    ) -> None:
        self.given = {name: torch.from_numpy(value) for name, value in np.load(given).items()}
        shape, latent = tuple(self.given["x"].shape[1:]), self.given["decoder_0"].shape[1]
        options = {"input_dim": shape, "latent_dim": latent, **config}
        built = getattr(models, f"{model}Config", None) or getattr(models, f"{model}_Config")
        networks = {"encoder": Encoder(self.given, second), "decoder": Decoder(self.given, output)}
        self.model = getattr(models, model)(built(**options), **networks)
        if hasattr(self.model, "discriminator"):
            made = {
                "FactorVAE": lambda: Pair(self.given),
                "Adversarial_AE": lambda: Critic(self.given, "critic", nn.Sigmoid()),
                "VAEGAN": lambda: Critic(self.given, "image_critic", nn.Sigmoid()),
            }
            self.model.discriminator = made[model]()
        if hasattr(self.model, "metric"):
            self.model.metric = Roots(self.given)
        own = dict(self.model.named_parameters())
        for name, array in (extra or {}).items():
            own[name].data.copy_(self.given[array])

    def loss(
        self, noise: list[str], permutations: list[list[int]] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Return what a pass gives: numbers, small arrays, and the loss's gradient in the networks' parameters.

        Args:
            noise: Arrays of standard normal noise, in the order in which the pass asks for them.
            permutations: The same of random orders.
            **arguments: Of the pass, beside x.
        """
        with _given([self.given[name] for name in noise], permutations or []):
            out = self.model({"data": self.given["x"].clone()}, **arguments)
        named = {
            f"{part}_{i}": p
            for part in ("encoder", "decoder")
            for i, p in enumerate([getattr(getattr(self.model, part), n) for n in ("w1", "b1", "w2", "b2")])
        }
        target = out.get("autoencoder_loss", out.get("encoder_loss", out["loss"]))
        gradients = torch.autograd.grad(target, list(named.values()), allow_unused=True, retain_graph=True)
        if out.get("decoder_loss") is not None:
            more = torch.autograd.grad(out["decoder_loss"], list(named.values()), allow_unused=True)
            gradients = [
                d if name.startswith("decoder") else e
                for name, e, d in zip(named, gradients, more, strict=True)
            ]
        found = {k: v.tolist() for k, v in out.items() if isinstance(v, Tensor) and v.numel() < 2000}
        found["gradients"] = {
            name: None if g is None else g.flatten().tolist()
            for name, g in zip(named, gradients, strict=True)
        }
        return found

    def carried(self, z: list[list[float]]) -> list[Any]:
        """Return what the model's flow carries codes to, and log |det|."""
        with torch.no_grad():
            out = self.model.iaf_flow.inverse(torch.tensor(z))
        return [out.out.tolist(), out.log_abs_det_jac.tolist()]


@contextlib.contextmanager
def _given(noise: list[Tensor], permutations: list[list[int]]) -> Iterator[None]:
    """Within the block random numbers are those given, in their order."""
    left, orders = list(noise), list(permutations)

    def normal(like: Any, *_: Any, **__: Any) -> Tensor:
        wanted = tuple(like.shape) if isinstance(like, Tensor) else tuple(like)
        value = left.pop(0)
        assert value.numel() == torch.Size(wanted).numel(), (value.shape, wanted)
        return value.reshape(wanted).clone()

    def order(n: int, *_: Any, **__: Any) -> Tensor:
        return torch.tensor(orders.pop(0)) if orders else torch.arange(n)

    with (
        mock.patch("torch.randn_like", normal),
        mock.patch("torch.randperm", order),
        # To which choices of rows, and windows, are cast.
        mock.patch("torch.float", torch.float64),
        mock.patch("torch.Tensor.float", Tensor.double),
        mock.patch("pythae.models.pvae.pvae_utils._standard_normal", normal),
    ):
        yield
    assert not left, f"{len(left)} arrays of noise were not asked for"
