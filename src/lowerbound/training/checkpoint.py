"""Everything that exact resuming needs, in one safetensors file that is replaced atomically.

Tensors are named ``model.*``, ``ema.*`` and ``optimizer.<index>.*``; of an objective with networks of its own also
``objective.*`` and ``optimizer.<player>.<index>.*``. The scalars of the run stand as JSON in the file's header. No
pickle is involved. Random numbers need no state: every step's draws are a function of (seed, rank, step), and so is
every epoch's order.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import RunError


def write_atomically(path: Path, write: Any) -> None:
    """Call ``write(temporary path)``, then move the result to ``path``: a reader sees the old or the new file.

    Raises:
        RunError: the file cannot be written; what stood there still does.
    """
    # A name by chance: containers that share a folder may also share the numbers of their processes.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        # safetensors makes its files private; a run's files have the permissions that any new file here has.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RunError(f"cannot write {path}: {reason}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors and a JSON header to one safetensors file, atomically."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    write_atomically(
        path, lambda temporary: save_file(plain, temporary, metadata={"state": json.dumps(state)})
    )


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_tensors`` wrote.

    Raises:
        RunError: there is no such file, or it is not a whole safetensors file.
    """
    if not path.is_file():
        raise RunError(f"{path} does not exist; is this the folder of a run that has started?")
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {}).get("state", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, state
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        raise RunError(
            f"{path} is damaged or no safetensors file ({error}); pickles are never read. "
            "Restore the file from a copy, or train again with overwrite"
        ) from None


def load_module(module: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Copy ``tensors`` into a module after ``check_tensors``."""
    check_tensors(module, tensors, where)
    module.load_state_dict(tensors)


def check_tensors(module: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Compare every name, shape and type with what a module has.

    Raises:
        RunError: a tensor is missing, left over, has another shape or type, or holds NaN; the first one is named.
    """
    own, weights = module.state_dict(), dict(module.named_parameters())
    for name, tensor in own.items():
        if name not in tensors:
            raise RunError(f"{where} lacks the tensor {name!r} that the model's configuration calls for")
        came = tensors[name]
        if came.shape != tensor.shape or came.dtype != tensor.dtype:
            raise RunError(
                f"{where} has {name!r} as {came.dtype} {tuple(came.shape)}, "
                f"but the configuration calls for {tensor.dtype} {tuple(tensor.shape)}"
            )
        # A buffer may hold an infinity on purpose, as a mask does.
        if bool(came.isnan().any()) or (name in weights and not bool(came.isfinite().all())):
            raise RunError(
                f"{where} has NaN or Inf in {name!r}; restore the file from a copy, or train again"
            )
    extra = sorted(set(tensors) - set(own))
    if extra:
        raise RunError(f"{where} has the tensor {extra[0]!r}, which the model's configuration does not know")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(v) for index, entry in state.items() for name, v in entry.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], where: str) -> None:
    """Put back what ``optimizer_tensors`` gave.

    Raises:
        RunError: they are not the moments of this optimiser's parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    wanted = {
        f"{index}.{name}": p.shape if name != "step" else torch.Size()
        for index, p in enumerate(parameters)
        for name in ("step", "exp_avg", "exp_avg_sq")
    }
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key not in wanted or tensor.shape != wanted[key]:
            raise RunError(f"{where} has the moments {key!r} {tuple(tensor.shape)}, which no parameter has")
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    # Before the first step there are none, and a parameter that no loss has reached has none.
    if partly := [index for index, entry in state.items() if len(entry) < 3]:
        raise RunError(f"{where} lacks some of the moments of parameter {partly[0]}")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under ``prefix.``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return those tensors that stand under ``prefix.``, without it."""
    start = prefix + "."
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def seed_for(*numbers: int) -> int:
    """Return a seed that is a well-mixed function of whole numbers, for example (seed, rank, step)."""
    packed = struct.pack(f"<{len(numbers)}q", *numbers)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1
