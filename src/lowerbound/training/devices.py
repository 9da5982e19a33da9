"""Which device and which floating-point type a run uses when it is left to us."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from torch import nn

from ..errors import ConfigError

# Below this many parameters the casts of autocast cost more than the faster matrix products save.
_LARGE_ENOUGH = 100_000


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``; "auto" is the first accelerator, else the CPU.

    Raises:
        ConfigError: there is no such device on this machine.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # "meta" has no numbers
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used here ({reason}); use 'auto' or 'cpu'") from None
    return device


def choose_compute_dtype(precision: str, device: torch.device, model: nn.Module) -> torch.dtype | None:
    """Return the type for the networks' products: bfloat16, or None for the parameters' own.

    "auto" takes bfloat16 where the processor has matrix units for it and the networks are large enough to gain.
    """
    if precision == "fp32":
        return None
    if precision == "bf16":
        return torch.bfloat16
    parameters = list(model.parameters())
    large = sum(p.numel() for p in parameters) >= _LARGE_ENOUGH
    single = all(p.dtype == torch.float32 for p in parameters)
    return torch.bfloat16 if large and single and fast_bfloat16(device) else None


def fast_bfloat16(device: torch.device) -> bool:
    """Return whether matrix products in bfloat16 run on units made for them."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # torch has no public question for this; the kernel lists the processor's features.
        features = Path("/proc/cpuinfo")
        return features.exists() and bool({"amx_bf16", "avx512_bf16"} & set(features.read_text().split()))
    return False


def describe_hardware(device: torch.device) -> str:
    """Return the device's name for a result file."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    names = [
        line.split(":", 1)[1].strip()
        for line in (Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else [])
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
