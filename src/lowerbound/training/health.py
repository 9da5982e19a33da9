"""Where a NaN or an infinity came from: which term, which layer, which batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..model import VAE


def diagnose(
    model: VAE,
    x: Tensor,
    c: Mapping[str, Tensor] | None,
    index: Tensor,
    seed: int,
    step: int,
    samples: int,
) -> str:
    """Repeat the pass of a step that gave a non-finite loss or gradient, and say where it appeared.

    Args:
        model: The model, with the weights the step began with and the gradients it ended with.
        x: The batch, (B, *event).
        c: Its condition.
        index: Which examples of the training split it holds, (B,).
        seed: Seed of the step's draws, so that the same noise is drawn again.
        step: Number of the step.
        samples: Latent draws per example.
    """
    rows = ", ".join(map(str, index[:8].tolist())) + (", ..." if len(index) > 8 else "")
    where = f"step {step}, a batch of {len(x)} training examples ({rows})"
    if not torch.isfinite(x).all():
        bad = index[~torch.isfinite(x).flatten(1).all(1)].tolist()
        return f"{where}: the data themselves hold NaN or Inf, in example {bad[0]}"
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"{where}: the weights of {name} are not finite; lower the learning rate"

    found: list[str] = []
    handles = [
        module.register_forward_hook(_first_bad(found, name))
        for name, module in model.named_modules()
        if name and not any(True for _ in module.children())
    ]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            out = model(x, c, samples)
            terms = {
                "log p(x|z)": out.log_likelihood,
                "log p(z)": out.log_prior,
                "log q(z|x)": out.log_posterior,
                "KL": out.kl(),
            }
    finally:
        for handle in handles:
            handle.remove()
    layer = f"; the first layer whose output is not finite is {found[0]}" if found else ""
    bad_terms = [name for name, value in terms.items() if not torch.isfinite(value).all()]
    if bad_terms:
        return f"{where}: {' and '.join(bad_terms)} became NaN or Inf{layer}"
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return f"{where}: every term is finite but the gradient of {name} is not"
    return f"{where}: the loss is not finite although its terms are; look at the objective's weights{layer}"


def _first_bad(found: list[str], name: str):
    def hook(module: nn.Module, inputs: object, output: object) -> None:
        if not found and isinstance(output, Tensor) and not torch.isfinite(output).all():
            found.append(f"{name} ({type(module).__name__})")

    return hook
