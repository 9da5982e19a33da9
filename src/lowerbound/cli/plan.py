"""``lowerbound plan``: training sets of motion-planning problems, learned samplers, and what they gain."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..display import aligned
from ..errors import ConfigError
from ..progress import progress_bar
from .export import told
from .options import (
    DeviceOption,
    OutOption,
    OverwriteOption,
    QuietOption,
    RunArgument,
    SeedOption,
    number,
    one_of,
)
from .writing import check_out

if TYPE_CHECKING:
    from ..planning import Family, Problem, Sampler

app = typer.Typer(
    no_args_is_help=True,
    help="Motion planning: learn where the samples of a planner should lie.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

FamilyArgument = Annotated[
    str,
    typer.Argument(
        metavar="FAMILY",
        help="narrow, maze, forest, integrator, wam, panda, or a file of your own like family.py.",
    ),
]
FamilyOption = Annotated[
    Path | None,
    typer.Option(
        "--family",
        metavar="FILE",
        help="The file of the run's family, if it lies elsewhere now or has changed since.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="OPTION=VALUE",
        help="An option of the family, like gap=0.1 or scene=shelf; may be repeated.",
    ),
]
ShareOption = Annotated[
    float,
    typer.Option(
        metavar="S", callback=number(0, 1), help="Share of learned states; the others are a Halton sequence."
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", callback=number(1, 1024), help="Processes that make the data; one per core if not given."
    ),
]
_MOST_PROBLEMS = 1_000_000
_MOST_STATES = 1_000_000  # of one problem


def _command(name: str, summary: str, *examples: str) -> Any:
    """Return what makes a command of a function: a summary that fits beside its name, examples below its options."""
    lines = "\n".join(f"  lowerbound plan {example}" for example in examples)
    # \b keeps the lines that follow as they are.
    return app.command(name, short_help=summary, epilog=f"\b\nExamples:\n{lines}")


@_command(
    "new",
    "Write the problem file of your own robot.",
    "new arm.urdf --scene boxes.yaml --out family.py",
    "make-data family.py -n 2000 --out data.npz",
)
def new(
    urdf: Annotated[Path, typer.Argument(metavar="URDF", help="The robot: a URDF file.")],
    scene: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Its surroundings, in metres: boxes, spheres, cylinders and a floor, as .yaml, .json or .toml.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .py file to write.")] = Path("family.py"),
    joints: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="The joints of a state, in order; all that move if not given."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write the file of a problem family: your robot, with its obstacles a little elsewhere in every problem.

    The file is tried before it is kept: a problem is drawn and solved. Edit it to draw starts, goals and obstacles
    as your robot will meet them.
    """
    from .. import planning

    named = [part.strip() for part in joints.split(",")] if joints else None
    made = planning.new_family(urdf, scene, out, joints=named, overwrite=overwrite)
    print(f"{out}: family {made.name}, {len(made.joints)} joints ({', '.join(made.joints)})", file=sys.stderr)
    answer = f"a path of {made.states} states" if made.states else "no path found"
    print(
        f"tried: a problem among {made.obstacles} obstacles, {answer}, {made.seconds:.1f} s", file=sys.stderr
    )
    print(f"next:  lowerbound plan make-data {out} -n 2000 --out {out.with_suffix('.npz')}", file=sys.stderr)


@_command(
    "make-data",
    "Solve problems: the training set.",
    "make-data narrow -n 2000 --out narrow.npz",
    "make-data wam --set scene=shelf -n 2000 --out shelf.npz",
    "make-data family.py -n 2000 --out family.npz",
)
def make_data(
    name: FamilyArgument,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .npz file to write.")],
    problems: Annotated[
        int,
        typer.Option(
            "-n", "--problems", metavar="N", callback=number(1, _MOST_PROBLEMS), help="Problems to solve."
        ),
    ] = 2000,
    states: Annotated[
        int,
        typer.Option(
            metavar="N", callback=number(1, 10_000), help="States kept of each problem and kind of target."
        ),
    ] = 16,
    set_: SetOption = None,
    workers: WorkersOption = None,
    quiet: QuietOption = False,
) -> None:
    """Solve problems of a family and write the states of their solutions as a training set.

    Interrupted, the same command goes on where it stopped.
    """
    from .. import planning

    family = _family(name, set_)
    with progress_bar("solving", problems, not quiet, unit="problems") as advance:
        made = planning.make_data(family, problems, out, states=states, workers=workers, progress=advance)
    if not quiet:
        without = f", {made.unsolved} left out that the search did not solve" if made.unsolved else ""
        print(f"{out}: {made.problems} problems{without}, {made.seconds:.0f} s", file=sys.stderr)
        print(f"next:  lowerbound plan train {out} --out runs/{out.stem}", file=sys.stderr)


@_command(
    "train",
    "Train a sampler on a training set.",
    "train narrow.npz --out runs/narrow",
    "train family.npz --out runs/family --epochs 20",
)
def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A file that make-data wrote.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The run's folder.")],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="What to learn: bottleneck or path states; in the plane the former if not given, else the latter.",
        ),
    ] = None,
    obstacles: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="How obstacles are described, where there are several ways: boxes or voxels."
        ),
    ] = None,
    kind: Annotated[str, typer.Option(metavar="KIND", help="The latent: cells or gaussian.")] = "cells",
    epochs: Annotated[
        float | None,
        typer.Option(metavar="N", help="Passes over the data; the recipe's if not given."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="M", help="Length of the run by the clock instead."),
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out exactly where it stopped.")
    ] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a sampler, a conditional VAE, on a training set and write a run folder."""
    from .. import planning

    run = planning.train(
        data,
        out,
        target=target,
        obstacles=obstacles,
        kind=kind,
        seed=seed,
        epochs=epochs,
        minutes=minutes,
        device=device,
        resume=resume,
        overwrite=overwrite,
        progress=not quiet,
    )
    if not quiet:
        print(f"{run.stopped} after {run.seconds:.0f} s, {run.steps} steps", file=sys.stderr)
        print(f"next:  lowerbound plan benchmark {out}", file=sys.stderr)
    if run.stopped == "interrupted":
        sys.exit(130)


@_command(
    "benchmark",
    "Compare a sampler with others on new problems.",
    "benchmark runs/narrow",
    "benchmark runs/narrow --samples 50,100 --share 0.7 --out success.png",
)
def benchmark(
    run: RunArgument,
    problems: Annotated[
        int,
        typer.Option(
            "-n", "--problems", metavar="N", callback=number(1, _MOST_PROBLEMS), help="Problems to plan."
        ),
    ] = 100,
    samples: Annotated[str, typer.Option(metavar="N,N,...", help="Numbers of samples.")] = "25,50,100,200",
    share: ShareOption = 0.5,
    split: Annotated[
        str, typer.Option(metavar="NAME", callback=one_of("tune", "test"), help="tune or test.")
    ] = "test",
    family_file: FamilyOption = None,
    set_: SetOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Plan problems the sampler has not seen, with it and with uniform, Halton, Gaussian and bridge samples.

    The family is the one of the training set; --set changes its options. A family of your own is loaded from its file
    if that has not changed since; else name the file with --family. --out writes a picture (.png).
    """
    from .. import planning

    ns = _numbers(samples)
    if out is not None:
        check_out(out, overwrite, (".png",))
    learned, meta = planning.load_sampler(run)
    family = _family_of(meta, set_, family_file)
    samplers = {
        "uniform": planning.Uniform(),
        "Halton": planning.Halton(),
        _in_words("Gaussian", 0.5): planning.Mixed(planning.GaussianSampler(), 0.5),
        _in_words("bridge test", 0.5): planning.Mixed(planning.Bridge(), 0.5),
        _in_words("learned", share): planning.Mixed(learned, share),
    }
    table = _compare(family, samplers, split, problems, ns, seed, not quiet)
    if out is not None:
        out.write_bytes(planning.success_picture(table))
    if as_json:
        print(
            json.dumps({"family": family.to_dict(), "split": split, "problems": problems, "samplers": table})
        )
    else:
        _print_table(table, problems)
    if not quiet:
        if out is not None:
            print(f"picture: {out}", file=sys.stderr)
        named = f" --family {family_file}" if family_file else ""
        print(f"next:  lowerbound plan sample {run} --problem 0 --out states.png{named}", file=sys.stderr)


@_command(
    "sample",
    "Write states for a problem: .csv, .npz, .png.",
    "sample runs/narrow --problem 3 -n 100 --out states.csv",
    "sample runs/narrow --problem 3 -n 100 --out states.png",
)
def sample(
    run: RunArgument,
    index: Annotated[
        int, typer.Option("--problem", metavar="I", callback=number(0), help="Number of the test problem.")
    ] = 0,
    n: Annotated[
        int,
        typer.Option(
            "-n", "--number", metavar="N", callback=number(1, _MOST_STATES), help="How many states."
        ),
    ] = 100,
    share: ShareOption = 0.5,
    family_file: FamilyOption = None,
    set_: SetOption = None,
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option(metavar="FILE", help="A .csv, .npz or .png file.")] = Path(
        "states.csv"
    ),
    overwrite: OverwriteOption = False,
) -> None:
    """Write states for a problem as CSV or .npz, for planners in other languages, or as a picture."""
    import numpy as np

    from .. import planning

    check_out(out, overwrite, (".csv", ".npz", ".png"))
    learned, meta = planning.load_sampler(run)
    problem = _family_of(meta, set_, family_file).problem("test", index)
    states = planning.Mixed(learned, share).draw(problem, n, np.random.default_rng(seed))
    if out.suffix == ".png":
        out.write_bytes(planning.problem_picture(problem, {_in_words("learned", share): states}))
    else:
        planning.write_states(states, problem, out)
    print(f"{out}: {len(states)} states", file=sys.stderr)
    print(f"next:  lowerbound plan export {run} --out {run.name}.onnx", file=sys.stderr)


@_command(
    "export",
    "Write the sampler as an ONNX graph.",
    "export runs/narrow --out narrow.onnx",
)
def export(
    run: RunArgument,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .onnx file to write.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Write the sampler as an ONNX graph: from a problem's condition and uniform numbers to states."""
    from .. import planning

    check_out(out, overwrite, (".onnx",))
    told(planning.export_onnx(planning.load_sampler(run)[0].model, out))


@_command(
    "demo",
    "Data, training, comparison and pictures at once.",
    "demo narrow",
)
def demo(
    name: Annotated[str, typer.Argument(metavar="NAME", help="narrow or wam.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write; runs/plan-NAME if not given."),
    ] = None,
    problems: Annotated[
        int | None,
        typer.Option(
            *("-n", "--problems"),
            metavar="N",
            callback=number(1, _MOST_PROBLEMS),
            help="Problems to learn from, instead of the demo's own; fewer are done sooner.",
        ),
    ] = None,
    workers: WorkersOption = None,
    quiet: QuietOption = False,
) -> None:
    """Make data, train, compare and draw, from nothing, in a few minutes."""
    import numpy as np

    from .. import planning

    if name not in _DEMOS:
        raise ConfigError(f"there is no demo {name!r}; choose {' or '.join(_DEMOS)}")
    recipe = _DEMOS[name]
    folder = out or Path("runs") / f"plan-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    family = planning.family(name)
    data = folder / "data.npz"
    if not data.exists():
        count = problems or recipe["problems"]
        with progress_bar("solving", count, not quiet, unit="problems") as advance:
            planning.make_data(family, count, data, workers=workers, progress=advance)
    elif problems is not None:
        print(f"{data} is there already, so --problems is not used", file=sys.stderr)
    run = folder / "run"
    resume = (run / "config.json").exists()
    if (
        planning.train(data, run, epochs=recipe["epochs"], resume=resume, progress=not quiet).stopped
        == "interrupted"
    ):
        sys.exit(130)
    learned, _ = planning.load_sampler(run)
    sampler = planning.Mixed(learned, 0.5)
    samplers: dict[str, Any] = {"uniform": planning.Uniform(), _in_words("learned", 0.5): sampler}
    table = _compare(family, samplers, "test", recipe["test"], recipe["samples"], 0, not quiet)
    (folder / "success.png").write_bytes(planning.success_picture(table))
    problem, path, drawn = _shown(family, samplers, recipe["shown"], np.random.default_rng(0))
    (folder / "samples.png").write_bytes(planning.problem_picture(problem, drawn, path))
    _print_table(table, recipe["test"])
    print(f"pictures: {folder / 'samples.png'} {folder / 'success.png'}", file=sys.stderr)
    print(f"next:  lowerbound plan benchmark {run}", file=sys.stderr)
    print("       lowerbound plan new arm.urdf --scene boxes.yaml, for a robot of your own", file=sys.stderr)


_DEMOS: dict[str, dict[str, Any]] = {
    "narrow": {"problems": 1500, "epochs": 4, "test": 100, "samples": [25, 50, 100, 200], "shown": 100},
    "wam": {"problems": 400, "epochs": 20, "test": 30, "samples": [50, 100, 200, 400], "shown": 200},
}


def _shown(
    family: Family, samplers: dict[str, Sampler], n: int, rng: Any
) -> tuple[Problem, Any, dict[str, Any]]:
    """Return the first test problem that the last sampler solves, its path, and what each sampler draws for it."""
    from .. import planning

    for problem in family.problems("test", 50):
        drawn = {name: sampler.draw(problem, n, rng) for name, sampler in samplers.items()}
        path = planning.plan(problem, list(drawn.values())[-1]).path
        if path is not None and len(path) > 2:
            break
    return problem, path, drawn


def _compare(
    family: Family, samplers: dict[str, Any], split: str, problems: int, ns: list[int], seed: int, shown: bool
) -> dict[str, list[dict[str, Any]]]:
    """Return the success of every sampler at every number of samples."""
    from .. import planning

    drawn = _drawn(family, split, problems, shown)
    table = {}
    with progress_bar("planning", len(samplers) * problems, shown, unit="plans") as advance:
        for name, sampler in samplers.items():
            advance(0, note=name)
            table[name] = planning.success_curve(planning.measure(sampler, drawn, ns, seed, progress=advance))
    return table


def _in_words(name: str, share: float) -> str:
    """Return the name of a sampler with what the rest of its states are."""
    if share in (0, 1):
        return name if share else "Halton"
    return f"{name}, {'half' if share == 0.5 else f'{1 - share:.0%}'} uniform"


def _drawn(family: Family, split: str, n: int, shown: bool) -> list[Problem]:
    """Return problems of a family, drawn once for all samplers; those that need a proof take their time."""
    with progress_bar("drawing", n, shown, unit="problems", after=1.0) as advance:
        drawn = []
        for problem in family.problems(split, n):  # type: ignore[arg-type]
            drawn.append(problem)
            advance()
    return drawn


def _print_table(table: dict[str, list[dict[str, Any]]], problems: int) -> None:
    print(f"problems solved of {problems}, by number of samples")
    heads = ["", *(f"{point['n']:6d}" for point in next(iter(table.values())))]
    rows = [[name, *(f"{point['success']:.2f}" for point in points)] for name, points in table.items()]
    print("\n".join(aligned(heads, rows)))


def _family(name: str, assignments: list[str] | None) -> Family:
    from .. import planning

    return planning.family(name, **_options(assignments))


def _family_of(meta: dict[str, Any], assignments: list[str] | None, file: Path | None) -> Family:
    """Return the family of a run; where it comes from a file, that is said."""
    from .. import planning

    family = planning.family_from({**meta["family"], **_options(assignments)}, file)
    if family.origin is not None:
        as_then = "" if file else ", as it was when the training problems were drawn"
        print(f"family {family.name}: {family.origin['file']}{as_then}", file=sys.stderr)
    return family


def _options(assignments: list[str] | None) -> dict[str, Any]:
    """Return what --set says of a family."""
    from ..overrides import parse_assignment

    options: dict[str, Any] = {}
    for text in assignments or ():
        options |= parse_assignment(text)
    return options


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not 1 <= min(numbers) <= max(numbers) <= _MOST_STATES:
        raise ConfigError(
            f"--samples needs positive whole numbers like 25,50,100, up to {_MOST_STATES:,}; got {text!r:.80}"
        )
    return sorted(set(numbers))
