"""Write the tables of the README and of the documentation from the result files.

    python benchmarks/table.py [--check]

The text between ``<!-- benchmarks:begin -->`` and ``<!-- benchmarks:end -->`` is replaced; ``--check`` only says
whether it is up to date. A result is marked if the package's code has changed since its commit: comments and
docstrings do not count, and the planners' code counts for the planners' results only.
"""

from __future__ import annotations

import argparse
import ast
import functools
import json
import sys
from typing import Any

from common import RESULTS, ROOT, git

PLANNING = "src/lowerbound/planning/"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"

# What the README shows of each benchmark; the documentation has everything.
HEADLINES = {
    (
        "mnist_mlp",
        "nll_dynamic_s1000",
    ): "dynamic MNIST, −log p(x), nats: ten minutes of training on two CPU cores",
    ("structured_prediction", "nll_1q"): "dynamic MNIST, −log p(rest given the lower left quadrant), nats",
    ("structured_prediction", "nll_2q"): "dynamic MNIST, −log p(rest given the left half), nats",
    ("structured_prediction", "nll_3q"): "dynamic MNIST, −log p(upper right quadrant given the rest), nats",
    (
        "conditional_mnist",
        "gain_nats",
    ): "dynamic MNIST, what the label is worth: log p(x given y) − log p(x), nats",
    (
        "conditional_mnist",
        "digit_accuracy",
    ): "the same model: share of generated digits that are read as the class asked for",
    (
        "semi_supervised",
        "error_100_labels",
    ): "MNIST, binarised at the middle grey, with 100 labels: classification error, percent",
    (
        "planning_narrow",
        "success_n50_gap003",
    ): "narrow passages (gap 0.03), problems solved with 50 samples, 70 % of them learned",
    ("planning_narrow", "success_uniform_n50_gap003"): "... with 50 uniform samples",
    ("planning_narrow", "success_bridge_n50_gap003"): "... with 50 samples of the bridge test",
    ("planning_wam", "success_n200"): "7-joint arm, problems solved with 200 samples, 90 % of them learned",
    ("planning_wam", "success_uniform_n200"): "... with 200 uniform samples",
    (
        "planning_wam",
        "success_near_ends_n200",
    ): "... with 200 samples, 90 % of them around start and goal: nothing learned",
    (
        "planning_wam",
        "success_n200_with_near_ends",
    ): "... with 200 samples, 45 % of them learned and 45 % around start and goal",
    (
        "planning_wam",
        "sample_ratio",
    ): "... uniform samples needed for one that is learned, at a success of 0.3",
    (
        "planning_wam",
        "wall_time_ratio_pybullet",
    ): "... wall-clock time of uniform over learned with pybullet, at equal success",
}

# The same for speed, whose values are medians over the rounds of a run.
SPEED = {
    (
        "training_throughput",
        "ratio_to_pythae_mlp_b128",
    ): "training, images per second over those of pythae: 784-512-512-32, batches of 128",
    ("training_throughput", "ratio_to_plain_mlp_b128"): "... over those of a loop written by hand",
    ("training_throughput", "ratio_to_pythae_mlp_b128_fp32"): "... over those of pythae, both in fp32",
    (
        "training_throughput",
        "ratio_to_pythae_conv28_b128",
    ): "... over those of pythae, convolutional networks, 28 x 28",
    (
        "training_throughput",
        "roofline_share_mlp_b1024",
    ): "... batches of 1024: share of the rate of matrix products on the same machine",
    (
        "time_to_quality",
        "ratio_to_pythae",
    ): "time to the validation bound that pythae reaches in 20 epochs on dynamic MNIST, pythae's over ours",
    (
        "time_to_quality",
        "nll_10_minutes",
    ): "dynamic MNIST, −log p(x), nats: ten minutes of training on this machine",
    (
        "likelihood_throughput",
        "ratio_to_pythae",
    ): "importance samples of log p(x) per second over those of pythae, equal estimates, ours in bf16",
    ("likelihood_throughput", "ratio_to_pythae_fp32"): "... both in fp32",
    (
        "likelihood_throughput",
        "memory_growth_s10_to_s10000",
    ): "... peak memory with 10,000 samples over that with 10",
    (
        "scale_out",
        "efficiency_mlp_b1024",
    ): "two processes of one thread over twice one process of one thread, images per second, batches of 1024",
}

SOHN = " (CVAE, S = 100), Sohn et al. 2015; how its targets were binarised is not known to us"

# The published number beside ours, with its source: what a reader compares with.
PUBLISHED = {
    ("mnist_mlp", "nll_dynamic_s1000"): (
        "86.76 (VAE) and 84.78 (IWAE, 50 samples), 784-200-200-50, S = 5000, Burda et al. 2016; "
        "84.45 (gated 2x300, up to 2000 epochs), S = 5000, Norouzi et al. 2020"
    ),
    ("structured_prediction", "nll_1q"): f"63.91{SOHN}",
    ("structured_prediction", "nll_2q"): f"44.73{SOHN}",
    ("structured_prediction", "nll_3q"): f"20.95{SOHN}",
    ("structured_prediction", "nn_1q"): "99.75, Sohn et al. 2015",
    ("structured_prediction", "nn_2q"): "62.18, Sohn et al. 2015",
    ("structured_prediction", "nn_3q"): "25.99, Sohn et al. 2015",
    (
        "semi_supervised",
        "error_100_labels",
    ): "3.33 (M1+M2), 11.97 (M2), without augmentation, Kingma et al. 2014",
}


def results() -> list[dict[str, Any]]:
    """Return all result files, by name."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]


def stale(result: dict[str, Any]) -> bool:
    """Return whether the code that the result may depend on has changed since its commit."""
    files = changed(result["commit"])
    planning = result["name"].startswith("planning")
    return files is None or any(planning or not file.startswith(PLANNING) for file in files)


@functools.cache
def changed(commit: str) -> list[str] | None:
    """Return the files under src whose statements are not those of a commit; None if it is not known."""
    names = git("diff", "--name-only", "--no-renames", commit, "HEAD", "--", "src")
    if names is None:
        return None
    return [name for name in names.split() if statements_at(commit, name) != statements_at("HEAD", name)]


@functools.cache
def statements_at(commit: str, name: str) -> str | None:
    """Return a file as it was at a commit, its statements only; None if it was not there."""
    text = git("show", f"{commit}:{name}")
    return statements(text) if text is not None and name.endswith(".py") else text


def statements(source: str) -> str:
    """Return what a module does, without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[ast.get_docstring(node) is not None :]
    return ast.dump(tree)


def number(value: float) -> str:
    """Return a number with the digits that mean something."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) < 10 else f"{value:.2f}"


def table(result: dict[str, Any]) -> str:
    """Return one result as Markdown."""
    seeds = ", ".join(map(str, result["seeds"]))
    mark = " (the code has changed since)" if stale(result) else ""
    lines = [
        f"**{result['name']}**{mark}: {result['date']}, {result['hardware']}, torch {result['versions']['torch']}, "
        f"seed{'s' if len(result['seeds']) > 1 else ''} {seeds}, commit {result['commit'][:10]}",
        "",
        "| quantity | value | lowest to highest | published |",
        "|---|---|---|---|",
    ]
    for key, value in result["metrics"].items():
        published = PUBLISHED.get((result["name"], key), "")
        lines.append(f"| `{key}` | {number(value)} | {spread(result, key)} | {published} |")
    words = {name: text for name, text in result["protocol"].items() if not isinstance(text, dict)}
    lines += ["", *(f"- {name}: {text}" for name, text in words.items())]
    for name, told in result["protocol"].items():
        if isinstance(told, dict):
            lines += nested(name, told)
    return "\n".join(lines)


def nested(title: str, told: dict[str, Any]) -> list[str]:
    """Return what a protocol tells as a table: curves of success, or numbers by the number of samples."""
    rows: dict[str, dict[str, str]] = {}
    lines: list[str] = []
    plain: list[str] = []
    for name, value in told.items():
        if isinstance(value, list):
            rows[name] = {
                str(p["n"]): f"{p['success']:.3f} ({p['low']:.2f} to {p['high']:.2f})" for p in value
            }
        elif isinstance(value, dict) and all(isinstance(v, int | float | None) for v in value.values()):
            rows[name] = {str(k): "" if v is None else number(v) for k, v in value.items()}
        elif isinstance(value, dict):
            lines += nested(f"{title}, {name}", value)
        else:
            plain.append(f"- {title}, {name}: {'none' if value is None else number(value)}")
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    if all(column.isdigit() for column in columns):
        columns.sort(key=int)
    if rows:
        lines = [
            "",
            f"| {title.replace('_', ' ')} | {' | '.join(columns)} |",
            "|---|" + "---|" * len(columns),
            *(f"| {name} | {' | '.join(row.get(c, '') for c in columns)} |" for name, row in rows.items()),
            *lines,
        ]
    return [*lines, "", *plain] if plain else lines


def spread(result: dict[str, Any], key: str) -> str:
    """Return the lowest and the highest value over the seeds or rounds, if there are several."""
    interval = result["intervals"].get(key)
    several = len(result["seeds"]) > 1 or result["protocol"].get("rounds", 1) > 1
    return f"{number(interval[0])} to {number(interval[1])}" if interval and several else ""


def summary(results: list[dict[str, Any]]) -> str:
    """Return the headlines of all results as Markdown tables: of quality, and of speed."""
    lines = [
        "| test split, mean over the seeds | value | lowest to highest | published |",
        "|---|---|---|---|",
    ]
    for (name, key), words in HEADLINES.items():
        for result in (one for one in results if one["name"] == name and key in one["metrics"]):
            lines.append(f"{headline(result, key, words)} {PUBLISHED.get((name, key), '')} |")
    speed = [
        headline(result, key, words)
        for (name, key), words in SPEED.items()
        for result in results
        if result["name"] == name and key in result["metrics"]
    ]
    if speed:
        compared = {name for name, _ in SPEED}
        machines = "; ".join(sorted({one["hardware"] for one in results if one["name"] in compared}))
        lines += ["", f"| speed on {machines}: median | value | lowest to highest |", "|---|---|---|", *speed]
    if any(map(stale, results)):
        lines += ["", "\\* measured before a later change of the code"]
    return "\n".join(lines)


def headline(result: dict[str, Any], key: str, words: str) -> str:
    """Return the cells that every headline has."""
    mark = " *" if stale(result) else ""
    return f"| {words}{mark} | {number(result['metrics'][key])} | {spread(result, key)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    arguments = parser.parse_args()
    pages = {"README.md": summary(results()), "docs/benchmarks.md": "\n\n".join(map(table, results()))}
    outdated = []
    for page, text in pages.items():
        path = ROOT / page
        old = path.read_text()
        head, rest = old.split(BEGIN, 1)
        new = f"{head}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}"
        if new != old:
            outdated.append(page)
            if not arguments.check:
                path.write_text(new)
    print("out of date: " + ", ".join(outdated) if outdated else "up to date")
    sys.exit(1 if outdated and arguments.check else 0)


if __name__ == "__main__":
    main()
