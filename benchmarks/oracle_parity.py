"""Presets that pythae has too, at the same weights and the same noise: equal terms, or why they are not.

    python benchmarks/oracle_parity.py [--peers DIR]

Both sides have one encoder, one decoder, one batch and one draw of each noise, in float64. A term is compared as it
is; where it cannot be equal, one line says why, the number is how far apart the two are, and what is left over once
the line is followed is counted among the residuals. pythae runs in an environment of its own.

Reference:
    Pythae: unifying generative autoencoders in Python (Chadebec, Vincent and Allassonnière, 2022),
    https://arxiv.org/abs/2206.08309
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from common import write_result
from contest import Worker, python_with
from torch import Tensor, nn

import lowerbound as lb
from lowerbound.distributions import Pushforward, diagonal_gaussian
from lowerbound.objectives import Progress
from lowerbound.presets import preset
from lowerbound.registry import build_objective

PEERS = {"pythae": "0.1.2"}
BATCH, SIDE, LATENT, HIDDEN = 12, 16, 4, 16
PIXELS = SIDE * SIDE
SAMPLES, ESTIMATES = 10, 5
SQUARED = {"type": "gaussian", "scale": math.sqrt(0.5)}
ONE = {"type": "gaussian", "scale": 1.0}
LINES: dict[str, str] = {
    "gaussian_constant": "squared errors there, a normalised Gaussian here: D/2 log 2πσ² apart",
    "iwae_surrogate": "the loss there is Σ w̃ log w, whose gradient is the bound's and whose value is none of it",
    "miwae_axis": "weights there are normalised over the M estimates, not over the K samples of each: K bounds of M",
    "info_vae_sign": "with its defaults α = 0 and λ = 0.001 the distance has the weight −0.999 there: a reward for "
    "mismatch, which is refused here",
    "capacity_per_batch": "per example here and there, as published; of the batch's mean, as in disentanglement_lib, "
    "it would be lower by this",
    "hvae_position": "positions move there by the momentum before its half step: no leapfrog step",
    "hvae_tempering": "tempered momenta are overwritten there by those that are not",
    "hvae_spread": "z_0 is drawn there with softplus(s) for σ, and scored with exp(s / 2)",
    "hvae_constants": "the draws' own ε²/2 and γ²/2 are left out there, of mean d",
    "rhvae_momenta": "the first momenta have the root of one's own example there, not that of the metric",
    "rhvae_position": "a step looks the metric up at its start alone there, so that it does not keep volumes",
    "rhvae_force": "a force there has the slope in the position of the momentum too, as the step before made it",
    "rhvae_density": "the law of the first momenta is left out there, with the determinant of the metric",
    "mss_weights": "the weights of one's own example stand in the first column there, not on the diagonal",
    "planar_floor": "1e-4 is added there to the determinant",
    "vae_gan_critic": "the critic here judges reconstructions and draws, as in the paper; there draws alone",
    "vq_mean": "of the squared distances to the rows the mean over the numbers is taken there, here the sum",
    "rae_gp_gradient": "the norm there is that of the gradient of the summed output in x, not of ∂x/∂z",
    "rae_l2_decay": "the decoder's norm is a weight decay of its optimiser there: half of λ, and not in the loss",
    "ms_ssim": "borders padded with zeros, one number for the whole batch, scales for which the window is too large, "
    "and the last scale's power as often as there are scales less one",
}


class Encoder(nn.Module):
    """The shared encoder, its two outputs brought to what our posterior reads.

    Args:
        given: Arrays by name.
        read: Makes the posterior's input of the two outputs, (B, L) each.
    """

    def __init__(self, given: Mapping[str, Tensor], read: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.w1, self.b1, self.w2, self.b2 = (nn.Parameter(given[f"encoder_{i}"].clone()) for i in range(4))
        self.read = read

    def halves(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the two outputs."""
        h = torch.tanh(x.flatten(1) @ self.w1.T + self.b1) @ self.w2.T + self.b2
        return h.chunk(2, -1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the posterior's input."""
        return self.read(*self.halves(x))


class Decoder(nn.Module):
    """The shared decoder."""

    def __init__(self, given: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.w1, self.b1, self.w2, self.b2 = (nn.Parameter(given[f"decoder_{i}"].clone()) for i in range(4))

    def forward(self, z: Tensor) -> Tensor:
        """Return one number for each pixel."""
        h = torch.tanh(z @ self.w1.T + self.b1) @ self.w2.T + self.b2
        return h.reshape(-1, 1, 1, SIDE, SIDE)


def raw(log_scale: Tensor) -> Tensor:
    """Return what our posteriors read as this log-scale."""
    return 12 * torch.atanh(log_scale / 12)


def gaussian(first: Tensor, second: Tensor) -> Tensor:
    """Means and log-variances, as pythae reads them."""
    return torch.stack([first, raw(second / 2)], 1)


def point(first: Tensor, second: Tensor) -> Tensor:
    """A code that is certain."""
    return first


def direction(first: Tensor, second: Tensor) -> Tensor:
    """A direction, and a concentration of 1 at least."""
    return torch.cat([first, (F.softplus(second[:, :1]) + 1 - 1e-3).expm1().log()], 1)


def ball(first: Tensor, second: Tensor) -> Tensor:
    """A point of the ball, and log-variances."""
    length = first.norm(dim=-1, keepdim=True)
    return torch.stack([first * 8 * torch.atanh(length / 8) / length, raw(second / 2)], 1)


class Given(lb.posteriors.Posterior):
    """A Gaussian carried on by a map of which image and log |det| are known for one draw."""

    def __init__(self, event_shape: Any) -> None:
        super().__init__(event_shape, (2, LATENT))
        self.image, self.log_det = torch.empty(0), torch.empty(0)

    def forward(self, h: Tensor) -> Any:
        """Return the law."""
        return Pushforward(diagonal_gaussian(h, 1), [mock.Mock(forward=lambda z: (self.image, self.log_det))])


@contextlib.contextmanager
def noise(*normal: Tensor, ranks: Tensor | None = None) -> Iterator[None]:
    """Within the block standard normal noise is what is given, in its order; ``ranks`` stand for uniform noise."""
    left = list(normal)

    def drawn(*shape: Any, **_: Any) -> Tensor:
        value = left.pop(0)
        wanted = shape[0] if len(shape) == 1 else torch.Size(shape)
        return value.reshape(tuple(wanted))

    def scaled(loc: Tensor, scale: Tensor, **_: Any) -> Tensor:
        return loc + scale * drawn(loc.shape)

    with (
        mock.patch("torch.distributions.normal._standard_normal", lambda shape, **_: drawn(shape)),
        mock.patch("torch.normal", scaled),
        mock.patch("torch.randn", drawn),
        mock.patch("torch.rand_like", return_value=ranks),
    ):
        yield
    assert not left, f"{len(left)} arrays of noise were not asked for"


class Contest:
    """Both sides, and what was found.

    Args:
        worker: pythae's.
        folder: For arrays.
    """

    def __init__(self, worker: Worker, folder: Path) -> None:
        self.worker, self.folder = worker, folder
        self.presets: set[str] = set()
        self.direct: dict[str, float] = {}
        self.explained: dict[str, float] = {}
        self.residuals: dict[str, float] = {}
        rng = np.random.default_rng(0)
        grey = 1 / (1 + np.exp(-np.cumsum(rng.standard_normal((BATCH, 1, SIDE, SIDE)), -1) / 2))
        layers = {"encoder": (PIXELS, 2 * LATENT), "decoder": (LATENT, PIXELS)}
        self.arrays: dict[str, np.ndarray] = {}
        for name, (size, out) in layers.items():
            for i, shape in enumerate([(HIDDEN, size), (HIDDEN,), (out, HIDDEN), (out,)]):
                scale = 1 / math.sqrt(shape[-1]) if len(shape) == 2 else 0.1
                self.arrays[f"{name}_{i}"] = scale * rng.standard_normal(shape)
        normal = rng.standard_normal
        self.arrays |= {
            "eps": normal((BATCH, LATENT)),
            "gamma": normal((BATCH, LATENT)),
            "many": normal((BATCH, SAMPLES, LATENT)),
            "both": normal((BATCH, ESTIMATES, SAMPLES, LATENT)),
            "first": normal((BATCH // 2, LATENT)),
            "second": normal((BATCH // 2, LATENT)),
            "around": normal((BATCH, LATENT - 1)),
            "pair_0": normal((2, LATENT)),
            "pair_1": normal((2,)),
            "critic_0": normal((1, LATENT)),
            "critic_1": normal((1,)),
            "image_critic_trunk": normal((6, PIXELS)) / SIDE,
            "image_critic_0": normal((1, 6)),
            "image_critic_1": normal((1,)),
            "pseudo": rng.random((PIXELS, 5)),
            "nought": np.zeros(PIXELS),
            "book": normal((7, 1)),
            "roots": np.tril(normal((BATCH, LATENT, LATENT)), -1) / 4
            + np.exp(normal((BATCH, LATENT, 1)) / 4) * np.eye(LATENT),
        }
        self.x = {"bits": (grey > 0.5).astype(float), "grey": grey}

    def array(self, name: str) -> Tensor:
        """Return a shared array."""
        return torch.from_numpy(self.arrays[name])

    def theirs(
        self, kind: str, config: Mapping[str, Any], draws: Sequence[str], values: str = "bits", **options: Any
    ) -> dict[str, Any]:
        """Return what pythae gives; numbers, arrays as tensors, and the gradients."""
        path = self.folder / f"{values}.npz"
        np.savez(path, allow_pickle=False, x=self.x[values], **self.arrays)
        passing = {k: options.pop(k) for k in ("permutations", "epoch") if k in options}
        loss = "bce" if values == "bits" else "mse"
        config = {"reconstruction_loss": loss, **config}
        if kind in ("AE", "RAE_L2", "RAE_GP", "VQVAE", "WAE_MMD"):
            config.pop("reconstruction_loss")
        self.worker.make(kind, "Model", given=str(path), model=kind, config=config, **options)
        found = self.worker.call(kind, "loss", noise=list(draws), **passing)
        gradients = {k: None if v is None else torch.tensor(v) for k, v in found.pop("gradients").items()}
        return {k: torch.tensor(v) for k, v in found.items()} | {"gradients": gradients}

    def ours(
        self,
        name: str,
        read: Callable[[Tensor, Tensor], Tensor] = gaussian,
        values: str = "bits",
        objective: Mapping[str, Any] | None = None,
        **slots: Any,
    ) -> tuple[Any, Any, Tensor]:
        """Return a preset's model at the shared weights, its objective, and the batch."""
        self.presets.add(name)
        torch.manual_seed(0)
        chosen = dict(preset(name))
        chosen.pop("data", None)
        chosen.pop("training", None)
        options = {**chosen.pop("objective"), **(objective or {})}
        slots = {
            "latent": LATENT,
            **{k: v for k, v in chosen.items() if k not in ("network", "latent")},
        } | slots
        given = {k: self.array(k) for k in self.arrays}
        x = self.x[values]
        source = x.astype(np.uint8) if values == "bits" else x.astype(np.float32)
        data = lb.data.load(source, binarize="none")
        model = lb.VAE.for_data(data, encoder=Encoder(given, read), decoder=Decoder(given), **slots).double()
        criterion = build_objective(options)
        criterion.start(model)
        return model, criterion, torch.from_numpy(x)

    # ------------------------------------------------------------------ what is found
    def same(self, name: str, ours: Tensor | float, theirs: Tensor | float) -> None:
        """Note a term that is compared as it is."""
        self.direct[name] = _off(ours, theirs)

    def gradients(self, name: str, model: Any, loss: Tensor, theirs: Mapping[str, Tensor | None]) -> None:
        """Note the same of the gradient in the weights of both networks."""
        for part in ("encoder", "decoder"):
            own = [getattr(getattr(model, part), key) for key in ("w1", "b1", "w2", "b2")]
            found = torch.autograd.grad(loss, own, retain_graph=True, allow_unused=True)
            for i, g in enumerate(found):
                other = theirs[f"{part}_{i}"]
                if g is not None and other is not None:
                    self.same(f"{name}_gradient_{part}_{i}", g.flatten(), other)

    def told(self, line: str, name: str, apart: float | Tensor, ours: Any, mended: Any) -> None:
        """Note a term that one of the lines explains.

        Args:
            line: Which.
            name: Of the term.
            apart: How far apart the two sides are by it.
            ours: Our number, or theirs.
            mended: The other side's, once the line is followed.
        """
        assert line in LINES, line
        self.explained.setdefault(line, abs(float(torch.as_tensor(apart).detach())))
        self.residuals[f"{line}_{name}"] = _off(ours, mended)


def _off(a: Any, b: Any) -> float:
    return float((torch.as_tensor(a).detach() - torch.as_tensor(b).detach()).abs().max())


def constant(likelihood: Mapping[str, Any]) -> float:
    """Return what −log p(x | z) of a Gaussian has beside the squared error."""
    return PIXELS / 2 * math.log(2 * math.pi * likelihood["scale"] ** 2)


# ---------------------------------------------------------------------------------------------- the presets
def gaussian_models(c: Contest) -> None:
    """Bounds and their weighings, with Gaussian codes."""
    eps = c.array("eps")
    now = Progress(fraction=1.0)
    theirs = c.theirs("VAE", {}, ["eps"])
    model, objective, x = c.ours("vae")
    with noise(eps):
        out = objective(model, x, None, now)
    c.same("vae_reconstruction", -out.terms["reconstruction"], theirs["recon_loss"])
    c.same("vae_kl", out.terms["kl"], theirs["reg_loss"])
    c.same("vae_bound", -out.bound, theirs["loss"])
    c.gradients("vae", model, out.loss, theirs["gradients"])

    theirs = c.theirs("VAE", {}, ["eps"], "grey", output="means")
    model, objective, x = c.ours("vae", values="grey", likelihood=ONE)
    with noise(eps):
        out = objective(model, x, None, now)
    c.told("gaussian_constant", "vae", constant(ONE), out.loss, theirs["loss"] + constant(ONE))
    c.gradients("vae_grey", model, out.loss, theirs["gradients"])

    theirs = c.theirs("BetaVAE", {"beta": 4.0}, ["eps"])
    model, objective, x = c.ours("beta-vae")
    with noise(eps):
        out = objective(model, x, None, now)
    c.same("beta_vae_loss", out.loss, theirs["loss"])
    c.gradients("beta_vae", model, out.loss, theirs["gradients"])

    with torch.no_grad():
        each = model(x).kl()
    capacity = float(each.median()) + 0.1  # so that examples lie on both sides of it
    gamma = 1000.0
    config = {"beta": gamma, "C": capacity, "warmup_epoch": 10}
    theirs = c.theirs("DisentangledBetaVAE", config, ["eps"], epoch=11)
    model, objective, x = c.ours("disentangled-beta-vae", objective={"capacity": capacity, "gamma": gamma})
    with noise(eps):
        out = objective(model, x, None, now)
    c.same("disentangled_beta_vae_loss", out.loss, theirs["loss"])
    c.gradients("disentangled_beta_vae", model, out.loss, theirs["gradients"])
    lower = gamma * ((each - capacity).abs().mean() - (each.mean() - capacity).abs())
    by_hand = -out.terms["reconstruction"] + gamma * (each - capacity).abs().mean()
    c.told("capacity_per_batch", "loss", lower, theirs["loss"], by_hand)
    assert lower > 0

    for aggregate in ("mws", "mss"):
        config = {"alpha": 1.0, "beta": 6.0, "gamma": 1.0, "use_mss": aggregate == "mss"}
        theirs = c.theirs("BetaTCVAE", config, ["eps"])
        model, objective, x = c.ours("beta-tcvae", objective={"aggregate": aggregate})
        with noise(eps):
            out = objective(model, x, None, now)
        if aggregate == "mws":
            c.same("beta_tcvae_loss", out.loss, theirs["loss"])
            c.gradients("beta_tcvae", model, out.loss, theirs["gradients"])
            continue
        # The published matrix is 1/N on the diagonal; there the same numbers go down two columns.
        last = BATCH - 1
        weights = torch.full((BATCH, BATCH), 1 / last)
        weights[:, 0], weights[:, 1] = 1 / BATCH, 1 / (BATCH * last)
        weights[last - 1, 0] = 1 / (BATCH * last)
        with noise(eps):
            a_pass = model(x)
        density = a_pass.q.base_dist.log_prob(a_pass.z[0].unsqueeze(1))
        joint = (density.sum(2) + weights.log()).logsumexp(1)
        single = (density + weights.log().unsqueeze(2)).logsumexp(1).sum(1)
        loss = -a_pass.log_likelihood[0] + a_pass.log_posterior[0] - joint + 6 * (joint - single)
        loss = (loss + single - a_pass.log_prior[0]).mean()
        c.told("mss_weights", "loss", out.loss - theirs["loss"], theirs["loss"], loss)


def distances(c: Contest) -> None:
    """InfoVAE, and autoencoders with a distance or a critic of codes."""
    eps, gamma, now = c.array("eps"), c.array("gamma"), Progress(fraction=1.0)
    for name, alpha in (("info-vae", 0.5), ("mmd-vae", 1.0)):
        config = {"alpha": alpha, "lbd": 100.0, "kernel_choice": "imq"}
        theirs = c.theirs("INFOVAE_MMD", config, ["eps", "gamma"])
        model, objective, x = c.ours(name)
        with noise(eps, gamma):
            out = objective(model, x, None, now)
        c.same(f"{name}_loss", out.loss, theirs["loss"])
        c.same(f"{name}_mmd", out.terms["mmd"], theirs["mmd_loss"])
        c.gradients(name, model, out.loss, theirs["gradients"])
    theirs = c.theirs("INFOVAE_MMD", {"kernel_choice": "imq"}, ["eps", "gamma"])
    by_hand = -out.terms["reconstruction"] + out.terms["kl"] + (0 + 1e-3 - 1) * out.terms["mmd"]
    c.told("info_vae_sign", "loss", -0.999 * out.terms["mmd"], theirs["loss"], by_hand)
    try:
        build_objective({"type": "info_vae", "alpha": 0.0, "weight": 1e-3})
    except lb.errors.ConfigError:
        pass
    else:
        raise AssertionError("a reward for mismatch was not refused")

    theirs = c.theirs("AE", {}, [], "grey", output="means")
    model, objective, x = c.ours("ae", point, "grey")
    out = objective(model, x, None, now)
    c.told("gaussian_constant", "ae", constant(SQUARED), out.loss, theirs["loss"] + constant(SQUARED))
    c.gradients("ae", model, out.loss, theirs["gradients"])

    config = {"reg_weight": 10.0, "kernel_choice": "imq"}
    theirs = c.theirs("WAE_MMD", config, ["gamma"], "grey", output="means")
    model, objective, x = c.ours("wae-mmd", point, "grey")
    with noise(gamma):
        out = objective(model, x, None, now)
    c.told("gaussian_constant", "wae_mmd", constant(SQUARED), out.loss, theirs["loss"] + constant(SQUARED))
    c.gradients("wae_mmd", model, out.loss, theirs["gradients"])

    # Half of ours: ½ SSE + ½ λ BCE, for λ = 1.
    config = {"adversarial_loss_scale": 0.5, "deterministic_posterior": True}
    theirs = c.theirs("Adversarial_AE", config, ["eps", "gamma"], "grey", output="means")
    model, objective, x = c.ours("aae", point, "grey")
    objective.critic = linear(c.array("critic_0"), c.array("critic_1"))
    with noise(gamma):
        moves = {move.player: move for move in objective.moves(model, x, None, now)}
    half = moves["model"].loss / 2
    mended = theirs["autoencoder_loss"] + constant(SQUARED) / 2
    c.told("gaussian_constant", "aae", constant(SQUARED), half, mended)
    c.same("aae_critic", moves["critic"].loss, theirs["discriminator_loss"])
    c.gradients("aae", model, half, theirs["gradients"])

    for name, kind, config in (
        ("rae-l2", "RAE_L2", {"embedding_weight": 1e-4}),
        ("rae-gp", "RAE_GP", {"embedding_weight": 1e-4, "reg_weight": 1e-7}),
    ):
        theirs = c.theirs(kind, config, [], "grey", output="means")
        model, objective, x = c.ours(name, point, "grey")
        with mock.patch("torch.randn_like", torch.ones_like):
            out = objective(model, x, None, now)
        c.same(f"{name}_code_norm", out.terms["code_norm"] / 2, theirs["embedding_loss"])
        c.told(
            "gaussian_constant",
            name,
            constant(SQUARED),
            -out.terms["reconstruction"],
            theirs["recon_loss"] + constant(SQUARED),
        )
        whole = theirs["loss"] + constant(SQUARED)
        if kind == "RAE_L2":
            c.told("rae_l2_decay", "loss", 1e-7 * out.terms["l2"], out.loss, whole + 1e-7 * out.terms["l2"])
            continue
        x = x.requires_grad_()
        total = model.decoder(model.encoder(x)).sum()
        through_x = torch.autograd.grad(total, x)[0].square().flatten(1).sum(1).mean()
        c.told(
            "rae_gp_gradient", "norm", through_x - out.terms["gradient"], theirs["gen_reg_loss"], through_x
        )


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Return a layer with these weights."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight.clone()
    if bias is not None:
        layer.bias.data = bias.clone()
    return layer


def critics(c: Contest) -> None:
    """FactorVAE and VAE-GAN."""
    now = Progress(fraction=1.0)
    rng = np.random.default_rng(1)
    order = rng.permutation(BATCH)
    inner = [rng.permutation(BATCH // 2) for _ in range(LATENT)]
    theirs = c.theirs(
        "FactorVAE", {"gamma": 10.0}, ["first", "second"], permutations=[p.tolist() for p in (order, *inner)]
    )
    model, objective, x = c.ours("factor-vae")
    w, b = c.array("pair_0"), c.array("pair_1")
    objective.critic = linear(w[:1] - w[1:], b[:1] - b[1:])
    half = BATCH // 2
    ranks = torch.from_numpy(np.stack([np.argsort(p) for p in inner], 1)).double()
    first, second = order[half:], order[:half]
    with noise(c.array("first"), ranks=torch.rand(half // 2, LATENT)):
        move = next(iter(objective.moves(model, x[first], None, now)))
    c.same("factor_vae_loss", move.loss, theirs["autoencoder_loss"])
    c.gradients("factor_vae", model, move.loss, theirs["gradients"])
    both = x[np.concatenate([first, second])]
    with noise(torch.cat([c.array("first"), c.array("second")]), ranks=ranks):
        *_, move = objective.moves(model, both, None, now)
    c.same("factor_vae_critic", move.loss, theirs["discriminator_loss"])

    theirs = c.theirs("VAEGAN", {}, ["eps", "gamma"], "grey", output="means")
    model, objective, x = c.ours("vae-gan", values="grey")
    trunk = nn.Sequential(nn.Flatten(), linear(c.array("image_critic_trunk")))
    judge = linear(c.array("image_critic_0"), c.array("image_critic_1"))
    objective.critic = nn.ModuleList([trunk, judge])
    with noise(c.array("eps"), c.array("gamma")):
        moves = {move.player: move for move in objective.moves(model, x, None, now)}
    terms = moves["model"].terms
    c.same("vae_gan_features", terms["features"], theirs["recon_loss"])
    c.same("vae_gan_encoder", terms["features"] + terms["kl"], theirs["encoder_loss"])
    with torch.no_grad(), noise(c.array("eps")):
        own = model(x).p_x.mean[0]
        drawn = model.decoder(c.array("gamma")).squeeze(1)
        judged = [F.softplus(s * judge(trunk(v))).mean() for s, v in ((-1, x), (1, own), (1, drawn))]
    ours = moves["critic"].loss
    c.told(
        "vae_gan_critic",
        "critic",
        ours - theirs["discriminator_loss"],
        ours,
        theirs["discriminator_loss"] + (judged[1] - judged[2]) / 2,
    )


def weighted(c: Contest) -> None:
    """Importance-weighted bounds."""
    now, many = Progress(fraction=1.0), c.array("many").transpose(0, 1)

    def surrogate(log_weight: Tensor, axis: int = 0) -> Tensor:
        return -(log_weight.softmax(axis) * log_weight).sum(axis).mean()

    theirs = c.theirs("IWAE", {"number_samples": SAMPLES}, ["many"])
    model, objective, x = c.ours("iwae", objective={"samples": SAMPLES})
    with noise(many):
        out = objective(model, x, None, now)
    with noise(many), torch.no_grad():
        log_weight = model(x, samples=SAMPLES).log_weight
    c.same("iwae_reconstruction", -out.terms["reconstruction"], theirs["recon_loss"])
    c.same("iwae_kl", out.terms["kl"], theirs["reg_loss"])
    c.told("iwae_surrogate", "iwae", theirs["loss"] - out.loss, theirs["loss"], surrogate(log_weight))
    c.gradients("iwae", model, out.loss, theirs["gradients"])

    theirs = c.theirs("CIWAE", {"number_samples": SAMPLES, "beta": 0.5}, ["many"])
    model, objective, x = c.ours("ciwae", objective={"samples": SAMPLES, "beta": 0.5})
    with noise(many):
        out = objective(model, x, None, now)
    c.told(
        "iwae_surrogate",
        "ciwae",
        0.0,
        theirs["loss"],
        0.5 * surrogate(log_weight) - 0.5 * log_weight.mean(),
    )
    c.gradients("ciwae", model, out.loss, theirs["gradients"])

    config = {"number_gradient_estimates": ESTIMATES, "number_samples": SAMPLES}
    both = c.array("both").permute(1, 2, 0, 3)  # (M, K, B, L)
    for name, kind in (("miwae", "MIWAE"), ("piwae", "PIWAE")):
        theirs = c.theirs(kind, config, ["both"])
        encoder = theirs["encoder_loss" if kind == "PIWAE" else "loss"]
        model, objective, x = c.ours(name, objective={"estimates": ESTIMATES, "samples": SAMPLES})
        with noise(both), torch.no_grad():
            log_weight = model(x, samples=ESTIMATES * SAMPLES).log_weight
        by_estimate = log_weight.unflatten(0, (ESTIMATES, SAMPLES))
        right, swapped = (
            (by_estimate.logsumexp(axis) - math.log(by_estimate.shape[axis])).mean() for axis in (1, 0)
        )
        c.told("miwae_axis", name, right - swapped, encoder, surrogate(by_estimate, 0))
        if kind == "PIWAE":
            c.told("iwae_surrogate", "piwae", 0.0, theirs["decoder_loss"], surrogate(log_weight))
        # With M and K exchanged, the gradient of ours is theirs.
        model, objective, x = c.ours(name, objective={"estimates": SAMPLES, "samples": ESTIMATES})
        with noise(both.transpose(0, 1)):
            out = objective(model, x, None, now)
        c.gradients(f"{name}_exchanged", model, out.loss, theirs["gradients"])


def dynamics(c: Contest, x: Tensor) -> tuple[Encoder, Callable[[Tensor], Tensor]]:
    """Return the encoder, and log p(x, z), (B,), without the constant of the prior, as a function of z."""
    arrays = {k: c.array(k) for k in c.arrays}
    decoder = Decoder(arrays)

    def log_joint(z: Tensor) -> Tensor:
        logits = decoder(z).flatten(1)
        log_p = -F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="none").sum(1)
        return log_p - z.square().sum(1) / 2

    return Encoder(arrays, gaussian), log_joint


def cooling(k: int, steps: int, tempering: float) -> float:
    """Return the factor on the momenta after step k."""
    before, after = ((1 - tempering**-0.5) * (j / steps) ** 2 + tempering**-0.5 for j in (k, k + 1))
    return after / before


def hamiltonian(
    c: Contest, x: Tensor, steps: int, size: float, tempering: float, *, wrong: Sequence[str]
) -> Tensor:
    """Return the bound by one leapfrog after another, with the errors that are asked for, (B,)."""
    encoder, log_joint = dynamics(c, x)
    mean, s = encoder.halves(x)
    spread = F.softplus(s) if "hvae_spread" in wrong else (s / 2).exp()
    z, momentum = mean + spread * c.array("eps"), c.array("gamma") / math.sqrt(tempering)

    def kick(z: Tensor) -> Tensor:
        z = z.detach().requires_grad_()
        return size / 2 * torch.autograd.grad(log_joint(z).sum(), z)[0]

    for k in range(steps):
        before, momentum = momentum, momentum + kick(z)
        z = z + size * (before if "hvae_position" in wrong else momentum)
        momentum = momentum + kick(z)
        if "hvae_tempering" not in wrong:
            momentum = momentum * cooling(k, steps, tempering)
    # Without the noise's own densities.
    scored = (s / 2).sum(1) if "hvae_spread" in wrong else spread.log().sum(1)
    return (log_joint(z) - momentum.square().sum(1) / 2 + scored).detach()


def riemannian(
    c: Contest, x: Tensor, steps: int, size: float, tempering: float, *, wrong: Sequence[str]
) -> Tensor:
    """Return the bound by one generalised leapfrog step after another, with the errors that are asked for, (B,)."""
    encoder, log_joint = dynamics(c, x)
    centres, s = (part.detach() for part in encoder.halves(x))
    roots, gamma = c.array("roots"), c.array("gamma")

    def inverse(z: Tensor) -> Tensor:
        near = (-(z.unsqueeze(1) - centres).square().sum(-1) / 1.5**2).exp()
        return torch.einsum("bn,nde->bde", near, roots @ roots.mT) + 0.01 * torch.eye(LATENT)

    def times(matrix: Tensor, v: Tensor) -> Tensor:
        return (matrix @ v.unsqueeze(-1)).squeeze(-1)

    def energy(z: Tensor, momentum: Tensor) -> Tensor:
        kinetic = (momentum * times(inverse(z), momentum)).sum(1) / 2 - torch.logdet(inverse(z)) / 2
        return kinetic - log_joint(z)

    def force(z: Tensor, momentum: Tensor) -> Tensor:
        return -torch.autograd.grad(energy(z, momentum).sum(), z, create_graph=True)[0]

    z = (centres + (s / 2).exp() * c.array("eps")).requires_grad_()
    first = inverse(z)
    own = roots if "rhvae_momenta" in wrong else torch.linalg.inv(torch.linalg.cholesky(first)).mT
    momentum = (times(own, gamma) / math.sqrt(tempering)).detach()
    for k in range(steps):
        begun = momentum
        for _ in range(3 if wrong else 40):
            momentum = begun + size / 2 * force(z, momentum).detach()
        after = start = z
        for _ in range(1 if "rhvae_position" in wrong else 40):
            after = start + size / 2 * times(inverse(start) + inverse(after), momentum)
        z, momentum = after.detach().requires_grad_(), momentum.detach()
        momentum = (momentum + size / 2 * force(z, momentum)) * cooling(k, steps, tempering)
        if "rhvae_force" not in wrong:
            momentum = momentum.detach()
    bound = c.array("eps").square().sum(1) / 2 + s.sum(1) / 2 - energy(z, momentum)
    if "rhvae_density" not in wrong:
        bound = bound + gamma.square().sum(1) / 2 - torch.logdet(first) / 2
    return bound.detach()


def curved(c: Contest) -> None:
    """Hamiltonian dynamics under a learned metric."""
    steps, size, tempering = 3, 0.01, 0.3
    roots = c.array("roots")
    row, column = torch.tril_indices(LATENT, LATENT, offset=-1)

    def with_roots(first: Tensor, second: Tensor) -> Tensor:
        diagonal = raw(roots.diagonal(dim1=-2, dim2=-1).log())
        return torch.cat([first, raw(second / 2), diagonal, roots[:, row, column]], 1)

    # Their beta_zero is divided by as its root would be.
    config = {"n_lf": steps, "eps_lf": size, "beta_zero": math.sqrt(tempering)}
    theirs = c.theirs("RHVAE", config, ["eps", "gamma"])
    made = {
        "type": "riemannian",
        "steps": steps,
        "step_size": size,
        "tempering": tempering,
        "centroids": BATCH,
    }
    model, objective, x = c.ours("rhvae", with_roots, latent=2 * LATENT, posterior=made)
    with noise(torch.cat([c.array("eps"), c.array("gamma")], -1)):
        out = objective(model, x, None, Progress(fraction=1.0))
    arguments = (c, x, steps, size, tempering)
    right = riemannian(*arguments, wrong=())
    c.same("rhvae_bound", out.bound, right.mean())
    errors = ("rhvae_momenta", "rhvae_position", "rhvae_force", "rhvae_density")
    all_wrong = riemannian(*arguments, wrong=errors)
    for error in errors:
        alone = riemannian(*arguments, wrong=(error,))
        c.told(error, "loss", alone.mean() - right.mean(), -theirs["loss"], all_wrong.mean())


def posteriors(c: Contest) -> None:
    """Other families of q and p."""
    now, eps, gamma = Progress(fraction=1.0), c.array("eps"), c.array("gamma")
    steps, size, tempering = 3, 0.1, 0.3
    errors = ("hvae_position", "hvae_tempering", "hvae_spread")
    config = {"n_lf": steps, "eps_lf": size, "beta_zero": tempering}
    theirs = c.theirs("HVAE", config, ["eps", "gamma"], output="logits")
    made = {"type": "hamiltonian", "steps": steps, "step_size": size, "tempering": tempering}
    model, objective, x = c.ours("hvae", latent=2 * LATENT, posterior=made)
    with noise(torch.cat([eps, gamma], -1)):
        out = objective(model, x, None, now)
    arguments = (c, x, steps, size, tempering)
    right = hamiltonian(*arguments, wrong=())
    own = ((eps.square() + gamma.square()).sum(1) / 2).mean()
    c.told("hvae_constants", "bound", own, out.bound, right.mean() + own)
    all_wrong = hamiltonian(*arguments, wrong=errors)
    for error in errors:
        alone = hamiltonian(*arguments, wrong=(error,))
        c.told(error, "loss", alone.mean() - right.mean(), -theirs["loss"], all_wrong.mean())

    inputs = {"pseudo_inputs.0.weight": "pseudo", "pseudo_inputs.0.bias": "nought"}
    theirs = c.theirs("VAMP", {"number_components": 5}, ["eps"], extra=inputs)
    model, objective, x = c.ours("vamp", prior={"type": "vamp", "components": 5})
    model.prior.inputs.data = c.array("pseudo").T.clamp(0, 1).reshape(5, 1, SIDE, SIDE).clone()
    with noise(eps):
        out = objective(model, x, None, now)
    c.same("vamp_kl", out.terms["kl"], theirs["reg_loss"])
    c.same("vamp_loss", out.loss, theirs["loss"])
    c.gradients("vamp", model, out.loss, theirs["gradients"])

    theirs = c.theirs("SVAE", {}, ["around"], second="log_concentration")
    model, _, x = c.ours("svae", direction)
    view = model.under(None)
    draw = view.along(view.evidence(x), theirs["z"].unsqueeze(0))
    c.same("svae_kl", draw.kl().mean(), theirs["reg_loss"])
    rec = -view.likelihood(draw.code).log_prob(x).mean()
    c.same("svae_reconstruction", rec, theirs["recon_loss"])
    c.gradients("svae", model, rec + draw.kl().mean(), _encoder_only_kl(theirs["gradients"]))

    theirs = c.theirs("PoincareVAE", {}, ["eps"], second="ball")
    model, objective, x = c.ours("poincare-vae", ball)
    with noise(eps):
        out = objective(model, x, None, now)
    c.same("poincare_vae_kl", out.terms["kl"], theirs["reg_loss"])
    c.same("poincare_vae_loss", out.loss, theirs["loss"])
    c.gradients("poincare_vae", model, out.loss, theirs["gradients"])

    flows(c)

    theirs = c.theirs(
        "VQVAE",
        {"num_embeddings": 7},
        [],
        "grey",
        output="means",
        extra={"quantizer.embeddings.weight": "book"},
    )
    book = {"type": "codebook", "codes": 7, "width": 1, "learning": "gradient"}
    model, objective, x = c.ours("vq-vae", point, "grey", prior=book, likelihood=SQUARED)
    model.prior.book.data = c.array("book").unsqueeze(0).clone()
    out = objective(model, x, None, now)
    penalty = out.loss + out.bound
    c.told(
        "gaussian_constant",
        "vq_vae",
        constant(SQUARED),
        -out.terms["reconstruction"],
        theirs["recon_loss"] + constant(SQUARED),
    )
    c.told("vq_mean", "penalty", penalty - theirs["vq_loss"], penalty, theirs["vq_loss"] * LATENT)


def _encoder_only_kl(theirs: Mapping[str, Tensor | None]) -> dict[str, Tensor | None]:
    """Return the decoder's gradients alone: a draw of a direction is differentiated otherwise on either side."""
    return {name: g if name.startswith("decoder") else None for name, g in theirs.items()}


def flows(c: Contest) -> None:
    """Planar and inverse autoregressive flows."""
    now, eps = Progress(fraction=1.0), c.array("eps")
    numbers = torch.from_numpy(np.random.default_rng(2).standard_normal((2, LATENT + 3)))

    def planar(first: Tensor, second: Tensor) -> Tensor:
        base = torch.cat([first, raw(second / 2)], 1)
        return torch.cat([base, numbers.flatten().expand(len(base), -1)], 1)

    made = {"type": "planar", "transforms": 2}
    model, objective, x = c.ours("planar-flow", planar, posterior=made)
    view = model.under(None)
    extra = {}
    for i, each in enumerate(view.posterior(x).maps):
        q = each.q[0].T  # (1, L): of one column u and w are along it
        for key, value in (("u", each.r[0] * q), ("w", each.t[0] * q), ("b", each.shift[0])):
            c.arrays[f"planar_{i}_{key}"] = value.detach().numpy()
            extra[f"net.{i}.{key}"] = f"planar_{i}_{key}"
    theirs = c.theirs("VAE_LinNF", {"flows": ["Planar", "Planar"]}, ["eps"], extra=extra)
    with noise(eps):
        out = objective(model, x, None, now)
    u, floored = (
        model.posterior(model.encoder(x)).base.mean + (model.encoder.halves(x)[1] / 2).exp() * eps,
        0.0,
    )
    for each in view.posterior(x).maps:
        u, log_det = each.forward(u)
        floored = floored + ((log_det.exp() + 1e-4).log() - log_det)
    c.same("planar_flow_reconstruction", -out.terms["reconstruction"], theirs["recon_loss"])
    c.told("planar_floor", "kl", floored.mean(), out.terms["kl"] - floored.mean(), theirs["reg_loss"])

    theirs = c.theirs("VAE_IAF", {"n_made_blocks": 2, "n_hidden_in_made": 3, "hidden_size": 32}, ["eps"])
    model, objective, x = c.ours("vae-iaf", posterior=Given(LATENT))
    z0 = model.posterior(model.encoder(x)).base
    z0 = z0.mean + z0.stddev * eps
    found = c.worker.call("VAE_IAF", "carried", z=z0.tolist())
    model.posterior.image, model.posterior.log_det = (torch.tensor(part) for part in found)
    with noise(eps):
        out = objective(model, x, None, now)
    c.same("vae_iaf_reconstruction", -out.terms["reconstruction"], theirs["recon_loss"])
    c.same("vae_iaf_kl", out.terms["kl"], theirs["reg_loss"])


def similarity(c: Contest) -> None:
    """Structural similarity."""
    now = Progress(fraction=1.0)
    theirs = c.theirs("MSSSIM_VAE", {"beta": 1.0, "window_size": 11}, ["eps"], "grey", output="means")
    model, objective, x = c.ours("ms-ssim-vae", values="grey", objective={"weight": 1.0})
    with noise(c.array("eps")):
        out = objective(model, x, None, now)
    c.same("ms_ssim_vae_kl", out.terms["kl"], theirs["reg_loss"])
    with noise(c.array("eps")), torch.no_grad():
        y = model(x).p_x.mean[0]
    at = torch.arange(11.0) - 5
    profile = (-at.square() / (2 * 1.5**2)).exp()
    kernel = torch.outer(profile, profile)
    kernel = (kernel / kernel.sum()).reshape(1, 1, 11, 11)
    # Exponents for images of up to 32 pixels.
    powers, of_contrast, of_all = torch.tensor([0.3117, 0.3384, 0.2675, 0.0824]), [], []
    a, b = x, y
    for _ in powers:
        ma, mb, va, vb, cov = (F.conv2d(v, kernel, padding=5) for v in (a, b, a * a, b * b, a * b))
        contrast = (2 * (cov - ma * mb) + 0.03**2) / (va - ma**2 + vb - mb**2 + 0.03**2)
        of_contrast.append(contrast.mean())
        of_all.append((contrast * (2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2)).mean())
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    contrast, whole = ((torch.stack(v) + 1) / 2 for v in (of_contrast, of_all))
    by_hand = 1 - ((contrast**powers)[:-1] * (whole**powers)[-1]).prod()
    c.told("ms_ssim", "distance", out.terms["distance"] - theirs["recon_loss"], theirs["recon_loss"], by_hand)


CASES = (gaussian_models, distances, critics, weighted, posteriors, curved, similarity)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--peers", type=Path, help="environment of pythae, made there if it is not")
    arguments = options.parse_args()
    torch.set_default_dtype(torch.float64)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="parity-") as scratch:
        folder = Path(scratch)
        python = python_with(arguments.peers or folder / "peers", PEERS)
        worker = Worker(python, "parity", folder / "pythae.log")
        contest = Contest(worker, folder)
        try:
            for case in CASES:
                case(contest)
            versions = worker.ask(do="versions", of=[*PEERS, "torch", "numpy"])
        finally:
            worker.close()
    metrics = {
        "presets_compared": len(contest.presets),
        "terms_compared": len(contest.direct),
        "worst_difference": max(contest.direct.values()),
        "explained": len(contest.explained),
        "worst_residual": max(contest.residuals.values()),
        **{f"apart_{line}": value for line, value in contest.explained.items()},
    }
    for table in (contest.direct, contest.residuals):
        for name, value in table.items():
            if value > 1e-5:
                print(f"{name}: {value:.3g}", file=sys.stderr)
    print("\n".join(f"{name}: {value:.6g}" for name, value in metrics.items()))
    path = write_result(
        "oracle_parity",
        metrics,
        protocol={
            "data": f"{BATCH} images of {SIDE} x {SIDE}, bits or grey levels, made by the script",
            "weights": "the same on both sides, one hidden layer, float64; the same noise",
            "worst_difference": "largest absolute difference of a term, or of a number of a gradient, in nats",
            "worst_residual": "the same of the terms that a line explains, once it is followed",
            "given": "to vae-iaf what pythae's flow makes of each code, with log |det|; to svae the draw",
            "left_out": "residual quantisation, which is not in pythae 0.1.2",
            "presets": ", ".join(sorted(contest.presets)),
            **{f"apart_{line}, nats": LINES[line] for line in contest.explained},
        },
        seeds=[0],
        config={"latent": LATENT, "hidden": HIDDEN, "samples": SAMPLES, "estimates": ESTIMATES},
        seconds=time.monotonic() - started,
        versions={f"{name} (peers)": version for name, version in versions.items()},
    )
    print(path)


if __name__ == "__main__":
    main()
