r"""Runs side by side, on the same examples: one column of numbers that may stand below each other.

The estimates of log p(x) of two runs on one example are paired: of their difference

.. math:: \bar d = \frac1n \sum_i \left(\log p_b(x_i) - \log p_a(x_i)\right), \qquad
    \mathrm{se} = \frac{\mathrm{sd}(d)}{\sqrt n}

the standard error is smaller than that of either value, for what makes an example hard is hard for both. Of runs that
differ in the seed alone ``Comparison.over_seeds`` makes one row: then every error is over the seeds.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack, cast

import torch

from .data import Data, DataSpec, Split
from .data.identity import digest
from .data.tables import import_pandas
from .defaults import describe_model
from .display import Picture, aligned, clock, digits_of, flat, html_table, signed, wrapped
from .errors import ConfigError, DataError, brief, listed, suggest
from .evaluation import NLL, Bound, Options, active_units, bits_per_dim, bound, nll
from .evaluation.proposals import Proposal, name_of
from .evaluation.stream import standard_error
from .model import VAE
from .persistence import load, open_data, read_config
from .training import Run, RunFolder

if TYPE_CHECKING:
    from pandas import DataFrame

_BOUND_SAMPLES = 10
_LONGEST_NAME = 24  # letters
_WIDTH = 80
_LESS = ("time", "bits/dim", "active", "KL")  # columns that make room for options, in this order
_SECTIONS = ("lowerbound", "model", "objective", "training")
_TRAINED = {"epochs": "epoch", "seconds": "seconds"}
_WHERE = ("root", "split_by")  # what of a run's data says where they lie
_SEEDS = ("training.seed", "data.options.seed")


@dataclass(frozen=True)
class Row:
    """The numbers of one run, or means over those of several seeds; None where there are none.

    All but the last six are in nats per example.

    Attributes:
        name: The run, or runs.
        log_p: Mean of log p(x); higher is better.
        log_p_stderr: Its standard error over the examples, or the seeds; NaN for one seed.
        difference: ``log_p`` less that of the best run.
        difference_stderr: Its standard error, paired over the examples, or that of two means over seeds.
        elbo: The evidence lower bound, with one sample.
        kl: Its second term.
        bits_per_dim: −``log_p`` in bits per value of x, of discrete data; lower is better.
        ess_median: Median effective sample size.
        khat_share_bad: Share of the examples whose estimate is not to be trusted.
        active_units: Latent dimensions in use,
        latent: of so many.
        parameters: Numbers that were learned.
        epochs: Passes over the training data.
        seconds: Training time.
        runs: How many runs it is.
    """

    name: str
    log_p: float
    log_p_stderr: float
    difference: float
    difference_stderr: float
    elbo: float | None = None
    kl: float | None = None
    bits_per_dim: float | None = None
    ess_median: float | None = None
    khat_share_bad: float | None = None
    active_units: float | None = None
    latent: float | None = None
    parameters: float | None = None
    epochs: float | None = None
    seconds: float | None = None
    runs: int = 1


@dataclass(frozen=True, repr=False)
class Comparison:
    """What ``compare`` has found.

    Attributes:
        rows: The runs, the best first.
        protocol: What all numbers have in common: ``source``, ``split``, ``n``, ``samples``, ``binarize``, ...
        differences: The keys in which the configurations differ, each with the value of every run; None for a run
            that has no such key.
        warnings: What not to trust, a sentence each.
    """

    rows: list[Row]
    protocol: dict[str, Any]
    differences: dict[str, dict[str, Any]]
    warnings: list[str]

    @property
    def best(self) -> str:
        """The name of the run with the highest value."""
        return self.rows[0].name

    @property
    def verdict(self) -> str:
        """Which run is best, and whether the others can be told from it, in a sentence."""
        first, *others = (r for r in self.rows if math.isfinite(r.log_p) or r is self.rows[0])
        if not others:
            finite = math.isfinite(first.log_p)
            one = (
                f"{first.name} has the only finite value"
                if self.rows[1:]
                else f"{first.runs} seeds of one model"
            )
            return one if finite else "no value is finite"
        close = [r.name for r in others if not -r.difference > self._reach(first, r) * r.difference_stderr]
        if close:
            whom = close[0] if len(close) == 1 else f"{', '.join(close[:-1])} and {close[-1]}"
            how = "by a t-test over the seeds" if self._over_seeds else "within two standard errors"
            if any(math.isnan(r.difference_stderr) for r in others):
                how = "one seed has no error"
            return f"{first.name} has the highest value, but {whom} cannot be told from it: {how}"
        second, error = others[0], others[0].difference_stderr
        lead = signed(-second.difference, digits_of([error]), error)
        return f"{first.name} is best, by {lead} nats before {second.name}"

    @property
    def _over_seeds(self) -> bool:
        return self.protocol.get("stderr") == "over seeds"

    def _reach(self, *rows: Row) -> float:
        """Return how many standard errors a difference from nothing has in one of 20 cases."""
        from scipy.special import stdtrit

        free = sum(row.runs - 1 for row in rows)
        return float(stdtrit(free, 0.975)) if self._over_seeds and free else 2.0

    def over_seeds(self) -> Comparison:
        """Return the comparison with one row for runs that differ in the seed alone, and errors over the seeds.

        It is this one if each setting has one seed. That the test examples are but some is no part of the error.
        """
        seeds = [of for key, of in self.differences.items() if key in _SEEDS]
        kept = {key: of for key, of in self.differences.items() if key not in _SEEDS}
        alike: dict[str, list[Row]] = {}
        for row in self.rows:
            alike.setdefault(json.dumps([of[row.name] for of in kept.values()]), []).append(row)
        drawn = {json.dumps([of[row.name] for of in [*seeds, *kept.values()]]) for row in self.rows}
        if len(alike) == len(self.rows) or len(drawn) < len(
            self.rows
        ):  # the same run again has no seed of its own
            return self
        rows = sorted(map(_mean, alike.values()), key=lambda row: (not math.isfinite(row.log_p), -row.log_p))
        best = rows[0]
        for i, row in enumerate(rows[1:], 1):
            gap, error = row.log_p - best.log_p, math.hypot(row.log_p_stderr, best.log_p_stderr)
            rows[i] = dataclasses.replace(row, difference=gap, difference_stderr=error)
        members = {_together([row.name for row in group]): group[0].name for group in alike.values()}
        found = {key: {name: of[one] for name, one in members.items()} for key, of in kept.items()}
        return Comparison(rows, self.protocol | {"stderr": "over seeds"}, found, self.warnings)

    @property
    def heading(self) -> str:
        """What was compared, on what, and how."""
        of = self.protocol
        named = (
            (of["source"], ""),
            (of["n"], " examples" if of["split"] in (None, "all") else f" {of['split']} examples"),
            (None if of["binarize"] in (None, "none") else of["binarize"], " binarisation"),
            (
                of["samples"],
                f" importance samples from {'q' if of['proposal'] == 'posterior' else of['proposal']}",
            ),
        )
        return ", ".join(f"{value}{words}" for value, words in named if value is not None) + (
            ("; nats, a lower bound" if str(of.get("kind")).startswith("a bound") else "; nats")
            + (", ± over seeds" if self._over_seeds else "")
        )

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return headings and texts of the columns that have a number."""
        d, paired = (
            digits_of([getattr(r, f"{of}_stderr") for r in self.rows]) for of in ("log_p", "difference")
        )
        behind = [signed(r.difference, paired, r.difference_stderr) for r in self.rows[1:]]
        columns: dict[str, list[str | None]] = {
            "run": [r.name for r in self.rows],
            self.protocol["quantity"]: [signed(r.log_p, d, r.log_p_stderr) for r in self.rows],
            "difference": ["best", *behind],
            "seeds": [str(r.runs) if any(r.runs > 1 for r in self.rows) else None for r in self.rows],
            "bits/dim": [None if r.bits_per_dim is None else f"{r.bits_per_dim:.3f}" for r in self.rows],
            "KL": [None if r.kl is None else f"{r.kl:.1f}" for r in self.rows],
            "active": [
                None if r.latent is None else f"{r.active_units:.3g}/{r.latent:.3g}" for r in self.rows
            ],
            "time": [None if r.seconds is None else clock(r.seconds) for r in self.rows],
        }
        shown = {name: texts for name, texts in columns.items() if any(text is not None for text in texts)}
        rows = [[text or "—" for text in row] for row in zip(*shown.values(), strict=True)]
        return list(shown), rows

    def __str__(self) -> str:
        table, *more = self._laid_out()
        lines = [*wrapped(self.heading, _WIDTH), "", *table, "", *wrapped(f"{self.verdict}.", _WIDTH)]
        for part in more:
            lines += ["", *part]
        return "\n".join(
            lines + [line for w in self.warnings for line in ("", *wrapped(f"warning: {w}", _WIDTH))]
        )

    __repr__ = __str__

    def _laid_out(self) -> list[list[str]]:
        """Return the table and what differs as lines that fit: below it by run, as columns of it, or by value."""
        heads, rows = self.cells()
        table, names = aligned(heads, rows), [r.name for r in self.rows]
        if not self.differences:
            return [table, *([["The configurations do not differ."]] if self.protocol["source"] else [])]
        shown = {key: [_shown(values[name]) for name in names] for key, values in self.differences.items()}
        below = aligned(["configuration", *names], [[key, *texts] for key, texts in shown.items()])
        if max(map(len, below)) <= _WIDTH:
            return [table, below]
        ends = [key.split(".")[-1] for key in shown]
        keys = ends if len(set(ends)) == len(ends) else list(shown)
        for left_out in itertools.accumulate([(), *((name,) for name in _LESS)], lambda a, b: a + b):
            kept = [i for i, head in enumerate(heads) if head not in left_out]
            wide = [
                [*(row[i] for i in kept), *own]
                for row, own in zip(rows, zip(*shown.values(), strict=True), strict=True)
            ]
            lines = aligned([*(heads[i] for i in kept), *keys], wide)
            if max(map(len, lines)) <= _WIDTH:
                return [lines]
        lines = ["configuration"]  # each value with the runs that have it
        for key, texts in shown.items():
            having: dict[str, list[str]] = {}
            for name, text in zip(names, texts, strict=True):
                having.setdefault(text, []).append(name)
            texts_of = "; ".join(f"{value} ({listed(who, 8)})" for value, who in having.items())
            lines += wrapped(f"  {key}: {texts_of}", _WIDTH)
        return [table, lines]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it; what is not finite is None."""
        rows = [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
            for row in map(dataclasses.asdict, self.rows)
        ]
        return {
            "protocol": self.protocol,
            "verdict": self.verdict,
            "runs": rows,
            "differences": self.differences,
            "warnings": self.warnings,
        }

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Return the names of all numbers, of the protocol and of the keys that differ, and a row for each run."""
        numbers = [field.name for field in dataclasses.fields(Row)]
        rows = [
            [*(getattr(r, name) for name in numbers), *self.protocol.values()]
            + [_json(values[r.name]) for values in self.differences.values()]
            for r in self.rows
        ]
        return [*numbers, *self.protocol, *self.differences], rows

    def to_frame(self) -> DataFrame:
        """Return ``table`` as a DataFrame, a row for each run."""
        pandas = import_pandas()
        names, rows = self.table()
        return pandas.DataFrame(rows, columns=names).set_index("name")

    def to_csv(self) -> str:
        """Return ``table`` as the text of a .csv."""
        import csv
        import io

        text = io.StringIO()
        names, rows = self.table()
        csv.writer(text, lineterminator="\n").writerows([names, *rows])
        return text.getvalue()

    def to_markdown(self) -> str:
        """Return the table, and one of the keys that differ, in Markdown."""

        def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
            escaped = [[text.replace("|", "\\|") for text in row] for row in [heads, *rows]]
            escaped.insert(1, ["---", *["--:"] * (len(heads) - 1)])
            return [f"| {' | '.join(row)} |" for row in escaped]

        heads, rows = self.cells()
        lines = [
            *table(heads, [[*(f"**{text}**" for text in rows[0][:2]), *rows[0][2:]], *rows[1:]]),
            "",
            f"{self.heading}.",
        ]
        if self.differences:
            names = [r.name for r in self.rows]
            differ = [
                [f"`{key}`", *(_shown(of[name]) for name in names)] for key, of in self.differences.items()
            ]
            lines += ["", *table(["configuration", *names], differ)]
        return "\n".join(lines) + "\n"

    def to_latex(self) -> str:
        """Return the table in LaTeX, for the package booktabs; the protocol stands above it as a comment."""
        heads, rows = self.cells()
        written = [[_latex(text) for text in row] for row in [heads, *rows]]
        written[1][:2] = [rf"\textbf{{{text}}}" for text in written[1][:2]]
        first, *others = (" & ".join(row) + r" \\" for row in written)
        return "\n".join(
            [
                f"% {self.heading}",
                rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
                *("\\toprule", first, "\\midrule", *others, "\\bottomrule"),
                "\\end{tabular}\n",
            ]
        )

    def _repr_html_(self) -> str:
        heads, rows = self.cells()
        return html_table([heads, *rows], f"{self.heading}. {self.verdict}.")

    def plot(self) -> Picture:
        """Draw each value and each difference with its interval of 95 %."""
        from .report.charts import intervals

        rows = self.rows
        return intervals(
            [r.name for r in rows],
            [(r.log_p, self._reach(r) * r.log_p_stderr) for r in rows],
            [(r.difference, self._reach(rows[0], r) * r.difference_stderr) for r in rows],
            f"{self.protocol['quantity']}, nats",
        )


def _mean(rows: Sequence[Row]) -> Row:
    """Return the means over runs of several seeds, and the error of that of log p(x)."""
    values = {
        field.name: [v for row in rows if (v := getattr(row, field.name)) is not None]
        for field in dataclasses.fields(Row)
    }
    means = {
        name: sum(found) / len(found)
        for name, found in values.items()
        if found and name not in ("name", "runs")
    }
    error = standard_error(torch.tensor(values["log_p"], dtype=torch.float64)) if len(rows) > 1 else math.nan
    own = {"difference": 0.0, "difference_stderr": 0.0, "log_p_stderr": error, "runs": len(rows)}
    return Row(_together(values["name"]), **{**means, **own})


def _together(names: Sequence[str]) -> str:
    """Return one name for several runs: what they begin with, or some of them."""
    prefix = os.path.commonprefix(names)  # noqa: RUF071, by letters as is meant
    if len(names) == 1 or not prefix.strip("0123456789._-"):
        return listed(sorted(names), 3)
    return f"{prefix}*"


class _Entry(NamedTuple):
    """A run to compare, ready to be evaluated."""

    name: str
    model: VAE
    split: Split
    config: dict[str, Any]
    trained: dict[str, Any]  # epochs, seconds


def compare(
    runs: Mapping[str, Any] | Iterable[Any],
    source: Any = None,
    *,
    samples: int = 200,
    proposal: Proposal = "posterior",
    split: str | None = None,
    changed_data: bool = False,
    root: str | Path | None = None,
    device: str = "cpu",
    **options: Unpack[Options],
) -> Comparison:
    """Evaluate runs on the same examples, with as many importance samples each, and compare them in pairs.

    Args:
        runs: The folders of runs, or what ``fit`` returned; or a dict of these by name. Also models, if ``source``
            gives the data, or results of ``nll`` for the same examples.
        source: Other data than the runs' own, for all of them; also a ``Data`` or ``Split``.
        samples: Importance samples per example.
        proposal: Where they come from: see ``nll``.
        split: "train", "valid", "test" or "all"; the test split if not given, and all of another source.
        changed_data: Go on, with a warning, if a run's data have changed since.
        root: Where MNIST-like data lie.
        device: Where models are evaluated.
        **options: ``limit``, ``memory``, ``seed``, ``precision`` and ``progress``; see ``Options``. With
            ``progress=True`` each run's value is told as soon as it is known.

    Raises:
        ConfigError: there are fewer than two runs, or their numbers cannot stand in one column: a bound beside an
            estimate, other binarisations, proposals, units or conditions.
        DataError: the runs have different test examples, or their data cannot be read.
        RunError: a folder is no run's.

    Example:
        >>> import lowerbound as lb
        >>> data = lb.data.load("digits")
        >>> models = {f"{k} codes": lb.VAE.for_data(data, latent=k) for k in (1, 4)}
        >>> compare(models, data, samples=20, limit=50).protocol["n"]
        50
    """
    named = _named(runs)
    name_of(proposal)
    if any(isinstance(run, NLL | Bound) for run in named.values()):
        return _of_results(named)
    opened: dict[str, Data] = {}

    def ready(name: str, run: Any) -> _Entry:
        folder = run.folder if isinstance(run, Run) else None if isinstance(run, VAE) else Path(run)
        data, history = source, []
        if folder is None:
            model, history = (run.model, run.history) if isinstance(run, Run) else (run, [])
            if not isinstance(source, Data | Split):
                raise ConfigError(
                    f"{name} is in memory; give what lowerbound.data.load gave: compare(runs, data)"
                )
            config: dict[str, Any] = {"model": describe_model(model)}
        else:
            config, model = read_config(folder), load(folder, device=device)
            history = RunFolder(folder).history()
            if not isinstance(source, Data | Split):
                key = json.dumps([config["data"], str(source)], sort_keys=True)
                if key not in opened:
                    opened[key] = open_data(
                        config, source, changed_data=changed_data, root=root and str(root)
                    )
                data = opened[key]
        trained = {k: history[-1].get(of) for k, of in _TRAINED.items()} if history else {}
        return _Entry(name, model, _part(data, split, source), config, trained)

    entries = [ready(name, run) for name, run in named.items()]
    limit = options.get("limit")
    protocol = _protocol(entries, samples, proposal, limit)
    results, others = {}, {}
    for number, entry in enumerate(entries, 1):
        results[entry.name] = found = nll(entry.model, entry.split, samples, proposal=proposal, **options)
        others[entry.name] = _numbers(entry, found, options)
        if options.get("progress"):
            value = signed(-found.value, digits_of([found.stderr]), found.stderr)
            print(f"{entry.name}: {value} ({number} of {len(entries)})", file=sys.stderr, flush=True)
    configs = {entry.name: entry.config for entry in entries}
    seen = [
        f"{e.name} was trained on some of these examples; compare on those that no run has seen, --split test"
        for e in entries
        if (e.config.get("data") or {}).get("source") == e.split.spec.source
        and e.split.name in ("train", "all")
    ]
    return _compared(results, protocol, others, differences(configs), seen)


def _named(runs: Mapping[str, Any] | Iterable[Any]) -> dict[str, Any]:
    """Return the runs by the names that they have in the table."""
    if isinstance(runs, Mapping):
        named = {str(name): run for name, run in runs.items()}
    elif isinstance(runs, str | os.PathLike | Run | VAE):
        named = {"": runs}
    else:
        given = list(runs)
        if nameless := [run for run in given if not isinstance(run, str | os.PathLike | Run)]:
            what = type(nameless[0]).__name__
            raise ConfigError(
                f"runs are folders, or have names: compare({{'a': ..., 'b': ...}}); got a {what}"
            )
        paths = [run.folder if isinstance(run, Run) else Path(run) for run in given]
        places = [path.expanduser().resolve() for path in paths if path is not None]
        if twice := next((path for path in places if places.count(path) > 1), None):
            raise ConfigError(f"{twice} is named twice; a run is compared with others")
        short = _short([os.path.normpath(path) for path in paths if path is not None])
        names = iter(short)
        named = {
            f"run {i}" if p is None else next(names): run
            for i, (p, run) in enumerate(zip(paths, given, strict=True), 1)
        }
    if len(named) < 2:
        raise ConfigError("compare needs at least two runs, for example `lowerbound compare runs/a runs/b`")
    return named


def _short(paths: list[str]) -> list[str]:
    """Return paths without the folders that all have in common, and without the middle of long ones."""
    parts = [Path(path).parts for path in paths]
    common = 0
    while all(len(p) > common + 1 for p in parts) and len({p[common] for p in parts}) == 1:
        common += 1
    names = ["/".join(p[common:]) for p in parts]
    half = _LONGEST_NAME // 2
    cut = [n if len(n) <= _LONGEST_NAME else f"{n[: half - 1]}…{n[-half:]}" for n in names]
    return cut if len(set(cut)) == len(cut) else names


def _part(data: Data | Split, split: str | None, source: Any) -> Split:
    if isinstance(data, Split):
        return data
    if split is not None and split not in (names := ("train", "valid", "test", "all")):
        raise ConfigError(f"there is no split {split!r}; {suggest(split, names)}")
    if data.whole and split not in (None, "all"):
        raise ConfigError(
            f"{data.spec.source} is not split, so it has no {split}; leave split out to use all of it"
        )
    own = source is None or isinstance(source, Data)
    return getattr(data, split or ("test" if own and not data.whole else "all"))


def _protocol(entries: list[_Entry], samples: int, proposal: Proposal, limit: int | None) -> dict[str, Any]:
    """Return what all have in common; refuse what would make their numbers speak of different things."""

    def same(what: str, of: Callable[[_Entry], Any], remedy: str) -> None:
        _same(what, {e.name: of(e) for e in entries}, remedy)

    same("the number is", lambda e: _quantity(e.model), "what is given to one must be given to all")
    same("x has the shape", lambda e: tuple(e.split.spec.event_shape), "use runs on the same data")
    binarize = "train one of them again with the other's --binarize"
    same("the binarisation is", lambda e: e.split.spec.binarize, binarize)
    same("the number is", lambda e: _kind(e, proposal), _remedy(entries, proposal))
    alike = "read the data alike, and use likelihoods of one kind"
    same("the unit is nats of", _unit, alike)
    for columns in zip(*(_columns(e.split.spec) for e in entries), strict=False):
        words = {e.name: f"{name} ({kind})" for e, (name, kind) in zip(entries, columns, strict=True)}
        _same("a column is", words, "read both with one --schema")
    found: dict[int, str] = {}  # those of one split once
    for e in entries:
        found.setdefault(id(e.split), digest(e.split, limit))
    examples = {e.name: found[id(e.split)] for e in entries}
    if len(set(examples.values())) > 1:
        a, b = entries[0], next(e for e in entries if examples[e.name] != examples[entries[0].name])
        x, y = (f"{len(e.split)} of {e.split.spec.source:.60}" for e in (a, b))
        raise DataError(
            f"{a.name} and {b.name} cannot stand in one column: their {a.split.name} examples differ ({x}; "
            f"{y}), or in another order; train both on one split (--seed cuts the data too, --set "
            "training.seed does not), or name other data for all with --source"
        )
    first = entries[0].split
    n = len(first) if limit is None else min(limit, len(first))
    return {
        "source": first.spec.source,
        "split": first.name,
        "n": n,
        "samples": samples,
        "binarize": first.spec.binarize,
        "proposal": name_of(proposal),
        "quantity": _quantity(entries[0].model),
        "kind": _kind(entries[0], proposal),
        "examples": examples[entries[0].name],
    }


def _same(what: str, values: Mapping[str, Any], remedy: str) -> None:
    """Raise ConfigError unless all runs have the same value."""
    (a, first), *others = values.items()
    for b, value in others:
        if value != first:
            raise ConfigError(
                f"{a} and {b} cannot stand in one column: {what} {first} in {a}, and {value} in {b}; {remedy}"
            )


def _quantity(model: VAE) -> str:
    """What is estimated: log p(x), or that under the condition's entries."""
    return "log p(x)" if model.condition is None else f"log p(x|{', '.join(sorted(model.condition.names))})"


def _kind(entry: _Entry, proposal: Proposal) -> str:
    """Whether the number rises to log p(x) with the samples, or stays below it however many there are."""
    if entry.split.spec.levels is not None:
        return "a bound on the probability of grey levels (they are dequantised)"
    if not entry.model.prior.is_real and proposal == "posterior":
        return "a bound that counts one discrete code of many"
    return "an estimate"


def _remedy(entries: list[_Entry], proposal: Proposal) -> str:
    if proposal == "posterior" and not all(e.model.prior.is_real for e in entries):
        return "with --proposal prior all codes count, in all of them"
    return "read the data alike, with the same dequantize and binarize"


def _columns(spec: DataSpec) -> list[tuple[str, str]]:
    """What a nat is of, column by column: of a probability where values repeat, else of a density."""
    found = []
    for column in spec.table or ():
        if column.is_modelled:
            step = f" in steps of {column.step:g}" if column.is_number and column.step else ""
            own = f" with {len(column.spikes)} values of their own probability" if column.spikes else ""
            found.append((column.name, f"{column.kind}{step}{own}"))
    return found


def _unit(entry: _Entry) -> str:
    """What a nat is of: of a density it depends on the units of x."""
    spec, likelihood = entry.split.spec, entry.model.likelihood
    with torch.no_grad():
        like = next(entry.model.parameters())
        p_x = likelihood(like.new_zeros(1, *likelihood.input_shape))
    try:
        discrete = bool(getattr(p_x.support, "is_discrete", False))
    except NotImplementedError:  # a distribution of the user's own that does not say
        discrete = False
    if "mixed" in likelihood.scores and any(kind != "real" for _, kind in _columns(spec)):
        return "columns of their own kinds"
    return "a probability" if discrete else f"a density{f' on [0, {spec.white:g}]' if spec.white else ''}"


def _numbers(entry: _Entry, result: NLL, options: Any) -> dict[str, Any]:
    """Return what a row has beside the estimate."""
    model, spec = entry.model, entry.split.spec
    terms = bound(model, entry.split, samples=_BOUND_SAMPLES, **options)
    units = active_units(model, entry.split, **options)
    scored = model.condition is not None and model.condition.observed is not None
    return entry.trained | {
        "elbo": terms.elbo,
        "kl": terms.kl,
        "bits_per_dim": None if scored else bits_per_dim(result.value, spec),
        "active_units": units.count,
        "latent": units.total,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


def _of_results(named: Mapping[str, Any]) -> Comparison:
    """Compare results of ``nll`` that the caller has for the same examples."""
    kinds = {n: "an estimate" if isinstance(r, NLL) else "a bound" if isinstance(r, Bound) else type(r).__name__
             for n, r in named.items()}  # fmt: skip
    _same("the number is", kinds, "give results of lowerbound.evaluate.nll for both")
    if "a bound" in kinds.values():
        raise ConfigError("bounds have no value for each example; compare results of lowerbound.evaluate.nll")
    results = cast(dict[str, NLL], dict(named))
    for what, name in (
        ("the examples are", "n"),
        ("importance samples are", "samples"),
        ("the proposal is", "proposal"),
    ):
        _same(what, {n: getattr(r, name) for n, r in results.items()}, "evaluate both alike")
    one = next(iter(results.values()))
    protocol = dict.fromkeys(("source", "split")) | {"n": one.n, "samples": one.samples, "binarize": None}
    protocol |= {"proposal": one.proposal, "quantity": "log p(x)"}
    return _compared(results, protocol, {}, {}, [])


def _compared(
    results: Mapping[str, NLL],
    protocol: dict[str, Any],
    others: Mapping[str, Any],
    differ: dict[str, dict[str, Any]],
    seen: list[str],
) -> Comparison:
    best = min(
        results, key=lambda name: results[name].value if math.isfinite(results[name].value) else math.inf
    )
    rows = []
    for name, result in results.items():
        gap = result.per_example - results[best].per_example
        rows.append(
            Row(
                name=name,
                log_p=-result.value,
                log_p_stderr=result.stderr,
                difference=0.0 if name == best else gap.mean().item(),
                difference_stderr=0.0 if name == best else standard_error(gap),
                ess_median=result.ess_median,
                khat_share_bad=result.khat_share_bad,
                **others.get(name, {}),
            )
        )
    rows.sort(key=lambda row: (row.name != best, not math.isfinite(row.log_p), -row.log_p))
    told: dict[tuple[str, bool], dict[str, list[str]]] = {}  # what several runs share is said once
    for name, result in results.items():
        if result.warning:
            fact, colon, reason = result.warning.partition(": ")
            told.setdefault((reason, bool(colon)), {}).setdefault(fact, []).append(name)
    warnings = [
        "; ".join(f"{listed(names)}: {fact}" for fact, names in facts.items())
        + (f": {reason}" if colon else "")
        for (reason, colon), facts in told.items()
    ]
    return Comparison(rows, protocol, differ, [*seen, *warnings])


def differences(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the keys, joined with dots, in which configurations differ, and the value that each has.

    Args:
        configs: Of each run, what ``read_config`` gives. What says where data lie is left out.

    Example:
        >>> differences({"a": {"training": {"seed": 0, "ema": 0.9}}, "b": {"training": {"seed": 1, "ema": 0.9}}})
        {'training.seed': {'a': 0, 'b': 1}}
    """
    chosen = {name: _choices(config) for name, config in configs.items()}
    keys = dict.fromkeys(key for values in chosen.values() for key in values)
    found = {key: {name: values.get(key) for name, values in chosen.items()} for key in keys}
    return {key: values for key, values in found.items() if len({_json(v) for v in values.values()}) > 1}


def _choices(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was chosen for a run, by keys; not what was found in the data, nor where they lie."""
    data = config.get("data") or {}
    options = {k: v for k, v in (data.get("options") or {}).items() if k not in _WHERE}
    chosen = {k: config.get(k) for k in _SECTIONS} | {
        "data": {"source": data.get("source"), "options": options}
    }
    return dict(flat(chosen))


# ----------------------------------------------------------------------------------------------- as text
def _json(value: Any) -> Any:
    """Return a value as a cell holds it."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "—" if value is None else brief(value, 40)[1:-1] if isinstance(value, str) else brief(value, 40)


def _latex(text: str) -> str:
    for plain, written in (
        ("\\", r"\textbackslash "), *((c, rf"\{c}") for c in "&%$#_{}"), ("~", r"\textasciitilde "),
        ("^", r"\textasciicircum "), ("±", r"$\pm$"), ("−", "$-$"), ("—", "---"), ("…", r"\ldots "),
        ("|", r"$\mid$"),
    ):  # fmt: skip
        text = text.replace(plain, written)
    return text
