"""``lowerbound train``: from data to a run folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from ..errors import ConfigError
from .options import DeviceOption, OverwriteOption, QuietOption, RootOption


def train(
    source: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            help="digits, mnist, fashion-mnist, a folder of images, or a .npy .npz .csv .parquet file."
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="A name from `lowerbound list presets`.")] = "default",
    config: Annotated[
        Path | None, typer.Option(help="A TOML or JSON file with the sections that --set names.")
    ] = None,
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", metavar="SLOT.OPTION=VALUE", help="Override one choice; may be repeated."),
    ] = None,
    latent: Annotated[Optional[int], typer.Option(help="Number of latent dimensions.")] = None,  # noqa: UP045
    epochs: Annotated[float | None, typer.Option(help="Length of the run in passes over the data.")] = None,
    minutes: Annotated[Optional[float], typer.Option(help="Length of the run by the clock.")] = None,  # noqa: UP045
    binarize: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="none, dynamic, static or threshold; the data's usual one if not given."),
    ] = None,
    seed: Annotated[Optional[int], typer.Option(help="Seed of every draw; 0 if not given.")] = None,  # noqa: UP045
    root: RootOption = None,
    out: Annotated[Optional[Path], typer.Option(help="The run's folder; runs/SOURCE if not given.")] = None,  # noqa: UP045
    device: DeviceOption = "auto",
    precision: Annotated[Optional[str], typer.Option(help="Of the networks: auto, fp32 or bf16.")] = None,  # noqa: UP045
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out exactly where it stopped.")
    ] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a VAE on SOURCE and write a run folder with weights, metrics and pictures."""
    flags: dict[str, Any] = {}
    training = {"epochs": epochs, "minutes": minutes, "seed": seed, "precision": precision}
    training["device"] = None if device == "auto" else device
    for section, values in (
        ("training", training),
        ("data", {"binarize": binarize, "root": None if root is None else str(root), "seed": seed}),
    ):
        given = {name: value for name, value in values.items() if value is not None}
        if given:
            flags[section] = given
    if latent is not None:
        flags["latent"] = latent

    from ..config import check_overrides, merge, parse_assignment
    from ..presets import preset as preset_overrides

    overrides = dict(preset_overrides(preset))
    layers = [("the file " + str(config), _read_file(config))] if config else []
    layers += [("--set", parse_assignment(text)) for text in set_ or []] + [("the command line", flags)]
    for where, layer in layers:
        check_overrides(layer, where)
        overrides = _one_length(merge(overrides, layer), layer)
    if resume:
        overrides, source, out = _stored(overrides, source, out)
    if source is None:
        raise ConfigError("name the data to train on, for example `lowerbound train digits`")
    folder = out or _free_folder(source)

    from ..config import choose, default_latent, model_for_data
    from ..data import load
    from ..persistence import fit
    from ..report import write_pictures
    from ..training import RunFolder

    RunFolder(folder).prepare(resume=resume, overwrite=overwrite) if not overwrite else None
    data = load(source, **overrides.get("data", {}))
    slots = {k: v for k, v in overrides.items() if k not in ("latent", "training", "objective", "data")}
    width = overrides.get("latent") or default_latent(data.spec)
    choose(data.spec, slots)
    if not quiet:
        print(f"{data}\nwriting to {folder}", file=sys.stderr)
    import torch

    settings = dict(overrides.get("training", {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.get("seed", 0))
        model = model_for_data(data, latent=width, **slots)
    run = fit(
        model,
        data,
        objective=overrides.get("objective"),
        out=folder,
        resume=resume,
        overwrite=overwrite,
        progress=not quiet,
        **settings,
    )
    write_pictures(folder, run.model, data, run.history)
    if not quiet:
        best = (
            f", validation bound {run.best['bound']:.2f} nats at epoch {run.best['epoch']:.1f}"
            if run.best
            else ""
        )
        print(f"{run.stopped} after {run.seconds:.0f} s, {run.steps} steps{best}", file=sys.stderr)
        if run.stopped == "interrupted":
            print(f"continue with: lowerbound train --resume --out {folder}", file=sys.stderr)
        else:
            print(f"next: lowerbound evaluate {folder}; lowerbound report {folder}", file=sys.stderr)
    if run.stopped == "interrupted":
        raise typer.Exit(130)


def _one_length(merged: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """Let the last layer that names a length decide: --minutes replaces a preset's epochs, and the other way."""
    training = dict(merged.get("training", {}))
    named = [name for name in ("epochs", "minutes") if layer.get("training", {}).get(name) is not None]
    if len(named) == 1:
        training.pop("minutes" if named[0] == "epochs" else "epochs", None)
        merged["training"] = training
    return merged


def _read_file(path: Path) -> dict[str, Any]:
    """Return the sections of a TOML or JSON file."""
    import json
    import tomllib

    try:
        text = path.read_text()
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(
            f"{path} is no valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}"
        ) from None


def _stored(
    overrides: dict[str, Any], source: str | None, out: Path | None
) -> tuple[dict[str, Any], str, Path]:
    """Return the choices that the run in ``out`` was started with; only its length may be given anew."""
    from ..persistence import read_config

    if out is None:
        raise ConfigError("--resume needs --out, the folder of the run to continue")
    config = read_config(out)
    if set(overrides) - {"training"} or set(overrides.get("training", {})) - {"epochs", "minutes", "device"}:
        raise ConfigError(
            "--resume takes all choices from the run; only --epochs, --minutes and --device may be given"
        )
    if source is not None and source != config["data"]["source"]:
        raise ConfigError(f"{out} was trained on {config['data']['source']!r}, not on {source!r}")
    stored = {k: v for k, v in config["model"].items() if k != "event_shape"}
    options = {k: v for k, v in config["data"]["options"].items() if v is not None}
    length = {k: v for k, v in overrides.get("training", {}).items() if v is not None}
    training = config["training"] | (
        {"epochs": None, "minutes": None} if length.keys() & {"epochs", "minutes"} else {}
    )
    kept = {k: v for k, v in (training | length).items() if v is not None}
    return (
        {**stored, "objective": config["objective"], "data": options, "training": kept},
        config["data"]["source"],
        out,
    )


def _free_folder(source: str) -> Path:
    """Return runs/NAME, or runs/NAME-2, ... if that is taken."""
    name = Path(source).stem or "run"
    folder, number = Path("runs") / name, 2
    while folder.exists():
        folder, number = Path("runs") / f"{name}-{number}", number + 1
    return folder
