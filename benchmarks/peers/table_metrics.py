"""What a synthetic table is worth, measured by sdmetrics and XGBoost in an environment of their own.

    python table_metrics.py REQUEST.json

REQUEST is {"real": CSV, "synthetic": CSV, "test": CSV, "numbers": [columns], "target": column}; the answer, one JSON
object, goes to standard output: column_error and pair_error in per cent (1 - sdmetrics' Column Shapes and Column Pair
Trends of real and synthetic rows), c2st (sdmetrics' LogisticDetection, 1 is best), and auc or rmse on the test rows of
a booster trained on the synthetic rows, chosen on an eighth of them that was held out.
"""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd

# The grid of TabSyn's evaluation is ten times as large; the choice among these is within a thousandth of it.
GRID = {"learning_rate": [0.05, 0.15], "max_depth": [4, 7], "n_estimators": [100, 300]}


def read(path: str, numbers: list[str]) -> pd.DataFrame:
    """Return a table whose numbers are numbers, and all else words."""
    words = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame = {}
    for name in words:
        # An empty cell, or a truth value, however it is written.
        column = words[name].str.strip().replace({"": "?", "NA": "?", "True": "TRUE", "False": "FALSE"})
        number = pd.to_numeric(column, errors="coerce")
        # One and the same category may be written as 1 and as 1.0.
        whole = number.notna() & (number == number.round())
        frame[name] = (
            number if name in numbers else column.where(~whole, number.fillna(0).astype(int).astype(str))
        )
    return pd.DataFrame(frame)


def shapes(real: pd.DataFrame, fake: pd.DataFrame, numbers: list[str]) -> tuple[dict[str, float], float]:
    """Return the error of each column, and the mean over the pairs of theirs, in [0, 1]."""
    from sdmetrics.reports.single_table import QualityReport

    report = QualityReport()
    # All pairs, as in the versions that the published numbers are of: newer ones leave out those hardly associated.
    report.real_correlation_threshold = report.real_association_threshold = 0
    report.generate(real, fake, _metadata(real, numbers), verbose=False)
    columns = report.get_details("Column Shapes").set_index("Column")["Score"]
    return (1 - columns).to_dict(), 1 - report.get_details("Column Pair Trends")["Score"].mean()


def detection(real: pd.DataFrame, fake: pd.DataFrame, numbers: list[str]) -> float:
    """Return how little a logistic regression tells the rows apart; 1 is not at all.

    It refuses rows with a category that the real ones do not have; they are left out.
    """
    from sdmetrics.single_table import LogisticDetection

    known = [fake[name].isin(set(real[name])) for name in real if name not in numbers]
    fake = fake[np.logical_and.reduce(known)] if known else fake
    return float(LogisticDetection.compute(real, fake, _metadata(real, numbers)))


def _metadata(real: pd.DataFrame, numbers: list[str]) -> dict[str, object]:
    return {"columns": {name: {"sdtype": "numerical" if name in numbers else "categorical"} for name in real}}


def downstream(fake: pd.DataFrame, test: pd.DataFrame, numbers: list[str], target: str) -> dict[str, float]:
    """Return the test error of a booster that has seen synthetic rows only."""
    from sklearn.metrics import roc_auc_score, root_mean_squared_error
    from xgboost import XGBClassifier, XGBRegressor

    regression = target in numbers
    levels = {
        name: {level: i for i, level in enumerate(sorted(set(fake[name]) | set(test[name])))}
        for name in fake
        if name not in numbers
    }

    def inputs(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(
            {
                name: frame[name]
                if name in numbers
                else pd.Categorical(frame[name].map(levels[name]), categories=range(len(levels[name])))
                for name in fake
                if name != target
            }
        )

    def outcome(frame: pd.DataFrame) -> np.ndarray:
        if regression:  # of the logarithm, as TabSyn's evaluation has it
            return np.log(frame[target].clip(lower=1).to_numpy(float))
        return frame[target].map(levels[target]).to_numpy(float)

    fake, test = (frame.dropna(subset=[target]) for frame in (fake, test))
    if not regression and len(set(fake[target])) < 2:
        return {"auc": 0.5}
    held = np.random.default_rng(0).random(len(fake)) < 1 / 8
    train, valid = fake[~held], fake[held]
    best, chosen = -np.inf, None
    for values in itertools.product(*GRID.values()):
        options = dict(zip(GRID, values, strict=True))
        model = (XGBRegressor if regression else XGBClassifier)(
            **options, enable_categorical=True, tree_method="hist", random_state=0
        )
        model.fit(inputs(train), outcome(train))
        score = _score(model, inputs(valid), outcome(valid), regression)
        if score > best:
            best, chosen = score, model
    y, X = outcome(test), inputs(test)
    if regression:
        return {"rmse": float(root_mean_squared_error(y, chosen.predict(X)))}
    return {"auc": float(roc_auc_score(y, chosen.predict_proba(X)[:, 1]))}


def _score(model, X, y, regression: bool) -> float:
    from sklearn.metrics import roc_auc_score, root_mean_squared_error

    if regression:
        return -float(root_mean_squared_error(y, model.predict(X)))
    return float(roc_auc_score(y, model.predict_proba(X)[:, 1])) if len(set(y)) > 1 else 0.5


def main() -> None:
    warnings.simplefilter("ignore")
    with open(sys.argv[1]) as file:
        request = json.load(file)
    numbers, target = request["numbers"], request["target"]
    real, fake, test = (read(request[name], numbers) for name in ("real", "synthetic", "test"))
    columns, pairs = shapes(real, fake, numbers)
    answer = {
        "column_error": 100 * float(np.mean(list(columns.values()))),
        "pair_error": 100 * float(pairs),
        "c2st": detection(real, fake, numbers),
        **downstream(fake, test, numbers, target),
        "columns": {name: 100 * value for name, value in columns.items()},
        "versions": {name: version(name) for name in ("sdmetrics", "xgboost", "scikit-learn")},
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
