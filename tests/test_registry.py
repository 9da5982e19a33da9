"""A class of anyone's own is named in one line, and then saved and loaded like one of the library's."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lowerbound as lb
from lowerbound.errors import ConfigError
from lowerbound.objectives.schedules import Schedule
from lowerbound.overrides import build_settings, check_overrides, merge, parse_assignment
from lowerbound.registry import DERIVED, REGISTRY, build, describe, options_of

pytestmark = [pytest.mark.runs, pytest.mark.processes]


@pytest.fixture(autouse=True)
def _own_names(monkeypatch):
    """Let every test register names of its own."""
    for kind, classes in REGISTRY.items():
        monkeypatch.setitem(REGISTRY, kind, dict(classes))


def table(n=40):
    x = 5 + 3 * np.random.default_rng(3).standard_normal((n, 4))
    return lb.data.load(x, labels=np.arange(n) % 2, condition={"start": x[:, :2]})


# Each with options that are derived, but of another kind of slot.
class Wide(lb.priors.StandardNormal):
    def __init__(self, event_shape, std: float = 1.0, mean: float = 0.0, classes: int = 2):
        super().__init__(event_shape)
        self.std, self.mean, self.classes = std, mean, classes


class Masked(lb.posteriors.DiagonalGaussian):
    def __init__(self, event_shape, masks: Literal["few", "many"] = "few", context: int = 3):
        super().__init__(event_shape)
        self.masks, self.context = masks, context


class Student(lb.likelihoods.Gaussian):
    def __init__(self, event_shape, in_shape: Sequence[int] = (1,), std: float = 1.0, context: bool = False):
        super().__init__(event_shape, scale=std)
        self.in_shape, self.std, self.context = in_shape, std, context

    def extra_repr(self):
        return ""


class Shift(nn.Module):
    log_slope = torch.zeros(4)
    log_det = 0.0

    def __init__(self, event_shape: float = 1.0, classes: float = 2.0):
        super().__init__()
        self.event_shape, self.classes = event_shape, classes

    def forward(self, x):
        return x - self.event_shape

    def inverse(self, u):
        return u + self.event_shape


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, std: float = 1.0, masks: bool = False, event_shape: int = 1):
        super().__init__()
        self.std, self.masks, self.event_shape = std, masks, event_shape
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        self.body = nn.LazyLinear(int(np.prod(out_shape)))
        self.body(torch.zeros(1, int(np.prod(in_shape))))

    def forward(self, x):
        return self.body(x.flatten(1)).unflatten(1, self.out_shape)


class Scaled(lb.conditions.Vector):
    def __init__(self, event_shape, std_of: float = 1.0, in_shape: int = 3, context_size: int = 4):
        super().__init__(event_shape)
        self.std_of, self.in_shape, self.context_size = std_of, in_shape, context_size


class Named(lb.objectives.ELBO):
    def __init__(self, mean: float = 1.0, classes: Sequence[str] = (), context: int = 0):
        super().__init__()
        self.mean, self.classes, self.context = mean, tuple(classes), context


@dataclass(frozen=True)
class Waves(Schedule):
    std: float = 1.0
    event_shape: int = 2

    def __call__(self, progress):
        return self.std


OWN = {
    "prior": (Wide, {"std": 0.1, "mean": 2.0, "classes": 7}),
    "posterior": (Masked, {"masks": "many", "context": 9}),
    "likelihood": (Student, {"in_shape": [3, 4], "std": 0.25, "context": True}),
    "transform": (Shift, {"event_shape": 0.5, "classes": 4.0}),
    "encoder": (Net, {"std": 0.5, "masks": True, "event_shape": 4}),
    "decoder": (Net, {"std": 0.5, "masks": True, "event_shape": 4}),
    "classifier": (Net, {"std": 0.5, "masks": True, "event_shape": 4}),
    "condition": (Scaled, {"std_of": 0.5, "in_shape": 8, "context_size": 2}),
    "objective": (Named, {"mean": 0.5, "classes": ["a"], "context": 3}),
    "schedule": (Waves, {"std": 0.5, "event_shape": 3}),
}


def test_every_kind_of_slot_has_a_class_of_its_own_here():
    assert set(OWN) == set(REGISTRY)
    names = {name for arguments in DERIVED.values() for name in arguments}
    assert any(names & set(options) for _, options in OWN.values())


@pytest.mark.parametrize("kind", OWN)
def test_options_that_are_derived_for_another_kind_survive_save_and_load(kind, tmp_path):
    cls, options = OWN[kind]
    lb.register(kind, "own", cls)
    chosen = {"type": "own", **options}
    data = table()
    objective = None
    if kind == "condition":
        model = lb.VAE.for_data(data, latent=2, condition={"start": chosen})
    elif kind == "objective":
        model, objective = lb.VAE.for_data(data, latent=2), chosen
    elif kind == "schedule":
        model, objective = lb.VAE.for_data(data, latent=2), {"type": "elbo", "beta": chosen}
    elif kind == "classifier":
        x = np.random.default_rng(3).standard_normal((40, 4))
        data = lb.data.load(x, labels=np.arange(40) % 2, condition="label")
        model = lb.VAE.for_data(data, latent=2, classifier=chosen)
    else:
        model = lb.VAE.for_data(data, latent=2, **{kind: chosen})
    lb.fit(model, data, objective=objective, out=tmp_path / "run", epochs=1, progress=False)
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    if kind in ("objective", "schedule"):
        found = stored["objective"] if kind == "objective" else stored["objective"]["beta"]
        assert found == chosen
        return
    again = lb.load(tmp_path / "run")
    slot = again.condition["start"] if kind == "condition" else getattr(again, kind)
    assert type(slot) is cls
    assert describe(kind, slot) == chosen
    for name, value in options.items():
        kept = getattr(slot, name)
        assert (list(kept) if isinstance(value, list) else kept) == value, name


def test_a_class_asks_for_more_of_its_neighbours_by_an_attribute():
    class Pseudo(lb.priors.StandardNormal):
        derived: ClassVar = frozenset({"feature_shape"})

        def __init__(self, event_shape, feature_shape, components: int = 3):
            super().__init__(event_shape)
            self.feature_shape, self.components = tuple(feature_shape), components
            self.inputs = nn.Parameter(torch.zeros(components, *feature_shape))

    lb.register("prior", "pseudo", Pseudo)
    assert set(options_of("prior", Pseudo)) == {"components"}
    model = lb.VAE.for_data(table(), latent=2, prior={"type": "pseudo", "components": 5})
    assert model.prior.inputs.shape == (5, 4)
    assert describe("prior", model.prior) == {"type": "pseudo", "components": 5}


def test_a_likelihood_says_which_values_it_scores():
    class Bits(lb.likelihoods.Bernoulli):
        pass

    lb.register("likelihood", "bits", Bits)
    with pytest.raises(ConfigError, match="likelihood 'bits' cannot score the real values of array"):
        lb.VAE.for_data(table(), likelihood="bits")
    more = type("More", (Bits,), {})
    with pytest.raises(ConfigError, match="likelihood 'More' cannot score the real values of array"):
        lb.VAE.for_data(table(), likelihood=more(4))

    class Unsaid(lb.likelihoods.Gaussian):
        scores = frozenset()

    lb.register("likelihood", "unsaid", Unsaid)
    assert isinstance(lb.VAE.for_data(table(), likelihood="unsaid").likelihood, Unsaid)


@pytest.mark.parametrize(
    ("kind", "name", "cls", "message"),
    [
        ("priorr", "a", Wide, "there is no kind of part 'priorr'; did you mean 'prior'"),
        ("prior", "standard_normal", Wide, "'standard_normal' is lowerbound.priors.normal.StandardNormal already"),
        ("prior", "none", Wide, "a name is a word"),
        ("prior", "", Wide, "a name is a word"),
        ("prior", 3, Wide, "a name is a word"),
        ("prior", "a", Wide(2), "must be a class of Prior; got Wide"),
        ("prior", "a", dict, "must be a class of Prior; got <class 'dict'>"),
        ("likelihood", "a", Wide, "must be a class of Likelihood"),
        ("objective", "a", Wide, "must be a class of Objective"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered_is_refused(kind, name, cls, message):
    with pytest.raises(ConfigError) as caught:
        lb.register(kind, name, cls)
    assert message in str(caught.value)


def test_a_constructor_that_no_file_can_call_is_refused():
    class Many(Wide):
        def __init__(self, event_shape, *parts: int):
            super().__init__(event_shape)

    class Anything(Wide):
        def __init__(self, event_shape, **options: int):
            super().__init__(event_shape)

    class Weights(Wide):
        def __init__(self, event_shape, weights: Tensor):
            super().__init__(event_shape)

    class Greedy(Wide):
        derived: ClassVar = frozenset({"everything"})

    for cls, message in (
        (Many, r"\*parts: int has no name of its own"),
        (Anything, r"\*\*options: int has no name of its own"),
        (Weights, "'weights' is a .*Tensor.*; options are numbers, words"),
        (Greedy, "asks for 'everything' by its attribute derived; there are data_shape"),
    ):
        with pytest.raises(ConfigError, match=message):
            lb.register("prior", "own", cls)
    assert "own" not in REGISTRY["prior"]


def test_a_class_written_again_takes_its_own_place():
    def write():
        class Cell(Wide):
            pass

        return Cell

    first, second = write(), write()
    lb.register("prior", "cell_of_a_notebook", first)
    lb.register("prior", "cell_of_a_notebook", second)
    assert REGISTRY["prior"]["cell_of_a_notebook"] is second


def test_a_class_that_does_not_keep_what_it_was_given_is_refused_before_training():
    class Forgets(lb.priors.StandardNormal):
        def __init__(self, event_shape, width: float = 1.0):
            super().__init__(event_shape)

    class Changes(lb.priors.StandardNormal):
        def __init__(self, event_shape, width: float = 1.0):
            super().__init__(event_shape)
            self.width = 2 * width

    class Learns(lb.priors.StandardNormal):
        def __init__(self, event_shape, width: float = 1.0):
            super().__init__(event_shape)
            self.width = nn.Parameter(torch.tensor(width))

    for cls, message in (
        (Forgets, "does not keep its argument 'width'.*no such attribute"),
        (Changes, "built with width=0.5 but keeps 1.0 as its attribute 'width'"),
        (Learns, "does not keep its argument 'width'.*Parameter"),
    ):
        lb.register("prior", cls.__name__, cls)
        with pytest.raises(ConfigError, match=message):
            build("prior", {"type": cls.__name__, "width": 0.5}, event_shape=(2,))


def test_a_code_of_another_shape_is_described_and_loads(tmp_path):
    data = lb.data.load(np.random.default_rng(0).integers(0, 2, (40, 1, 8, 8)).astype(np.uint8))
    model = lb.VAE.for_data(data, latent=[2, 3, 3])
    assert model.latent_shape == (2, 3, 3)
    again = lb.load(lb.save(model, tmp_path / "run"))
    assert again.latent_shape == (2, 3, 3)
    assert torch.equal(again.sample(3, seed=1), model.sample(3, seed=1))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["latent"] == [2, 3, 3]


def test_what_the_data_say_of_a_condition_reaches_only_the_classes_that_ask():
    data = lb.data.load(np.random.default_rng(0).random((40, 1, 8, 8), dtype=np.float32), observed="half")
    model = lb.VAE.for_data(data, latent=2)
    assert describe("condition", model.condition["observed"], derived=True)["masks"] == "half"


# ------------------------------------------------------------------------------------------------ numbers and text
def test_numbers_of_numpy_are_numbers():
    data = table()
    hidden = np.array([7, 5])
    model = lb.VAE.for_data(data, latent=np.int64(3), network={"hidden": hidden, "dropout": np.float32(0.25)})
    assert model.latent_shape == (3,)
    assert describe("encoder", model.encoder)["hidden"] == [7, 5]
    assert model.encoder.dropout == 0.25
    settings = {"batch_size": np.int64(16), "epochs": np.float64(1), "seed": np.uint8(3)}
    run = lb.fit(model, data, learning_rate=np.float32(0.5), progress=False, **settings)
    assert run.steps == 2
    built = build_settings(settings | {"learning_rate": np.float32(0.5)})
    assert [type(getattr(built, name)) for name in ("batch_size", "epochs", "seed")] == [int, float, int]
    assert built.learning_rate == 0.5
    assert torch.equal(model.sample(2, [1, 2], seed=np.int64(3)), model.sample(2, [1, 2], seed=3))
    with pytest.raises(ConfigError, match=r"batch_size must be a whole number; got 2\.5"):
        build_settings({"batch_size": np.float64(2.5)})
    with pytest.raises(ConfigError, match=r"seed must be a whole number; got 1\.5"):
        model.sample(2, [1, 2], seed=1.5)


@pytest.mark.parametrize("text", ["training.epochs=1\nseed=3", "training.epochs=1\n[seed]\na=3"])
def test_an_assignment_with_a_second_line_is_refused(text):
    with pytest.raises(ConfigError, match=r"--set takes one assignment at a time; got .*seed"):
        parse_assignment(text)


def test_an_assignment_may_have_a_list_over_several_lines():
    assert parse_assignment("decoder.hidden=[\n  4,\n  5,\n]") == {"decoder": {"hidden": [4, 5]}}


@pytest.mark.parametrize(
    "value", ["[" * 5000, "[" * 5000 + "]" * 5000, "{a=" * 3000 + "1" + "}" * 3000, "9" * 5000]
)
def test_an_assignment_that_is_too_deep_or_too_long_is_refused(value):
    with pytest.raises(ConfigError) as caught:
        check_overrides(parse_assignment(f"latent={value}"))
    assert len(str(caught.value)) < 400


def test_a_type_that_is_a_table_is_refused():
    chosen = merge({"encoder": "mlp"}, parse_assignment("encoder.type.x=3"))
    with pytest.raises(ConfigError, match=r"there is no encoder \{'x': 3\}"):
        check_overrides(chosen)
    both = merge({"encoder": {"type": {"x": 3}}}, {"encoder": {"type": {"x": 4}}})
    assert both == {"encoder": {"type": {"x": 4}}}


def test_modules_that_people_name_can_be_imported_by_that_name():
    code = "from lowerbound.evaluate import nll; import lowerbound.evaluate, lowerbound as lb; "
    code += "assert lb.evaluate.nll is nll; assert lb.evaluation.nll is nll; lb.testing.check_prior"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_sizes_that_no_memory_holds_are_refused_at_once():
    for build_one in (
        lambda: lb.conditions.Label(10**30),
        lambda: lb.conditions.Map((1, 8, 8), blocks=10**30),
        lambda: lb.nn.MLP((3,), (2,), hidden=[10**30]),
    ):
        with pytest.raises(ConfigError, match="positive integer"):
            build_one()
    assert lb.conditions.Label(np.int64(3)).classes == ("0", "1", "2")
