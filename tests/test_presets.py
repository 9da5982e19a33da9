"""Every preset on the digits: what it promises is the same for all, whatever slots stand behind the name."""

import math
import re
import signal

import pytest
import torch
from toys import no_pictures  # noqa: F401

import lowerbound as lb
from lowerbound.cli.listing import list_names
from lowerbound.overrides import check_overrides
from lowerbound.presets import PRESETS, preset

pytestmark = pytest.mark.runs

# Codes without a density: there is no log p(x), and evaluation says so.
NO_LIKELIHOOD = {"ae", "rae-l2", "rae-gp", "wae-mmd", "wae-gan", "swae", "aae"}
# The numbers of a code follow from the sizes of its levels, or of the image.
OWN_LATENT = {"lvae", "conv-ladder", "vq-vae-map"}
SMALL = {"type": "mlp", "hidden": [16]}
# What is too large for a test.
SMALLER = {
    "importance_weighted": {"samples": 3},
    "multiply_weighted": {"estimates": 2, "samples": 2},
    "factor_vae": {"hidden": [8]},
    "adversarial": {"hidden": [8]},
    "vae_gan": {"features": 8},
    "deep_features": {"channels": [4, 4], "steps": 3},
}


def parts_of(name, condition=None):
    """Return data, slots, objective and settings of a preset, as the command line would take them."""
    chosen = dict(preset(name))
    check_overrides(chosen)
    options = chosen.pop("data", {})
    if condition:
        options = {**options, "condition": _third() if "parts" in options else condition}
    objective, settings = chosen.pop("objective", None), chosen.pop("training", {})
    if objective is not None:
        objective = {**objective, **SMALLER.get(objective["type"], {})}
    slots = {**({} if name in OWN_LATENT else {"latent": 4}), **chosen}
    network = slots.get("network", {"type": "mlp"})
    if name != "linear":
        channels = {"channels": [4 for _ in network.get("channels", [4, 4])]}
        slots["network"] = SMALL if network["type"] == "mlp" else {**network, **channels}
    if "parts" in options:
        slots["network"] = {"type": "parts", "hidden": [16]}
    for slot in ("prior", "posterior"):
        if "scales" in chosen.get(slot, {}):
            slots[slot] = {**chosen[slot], "channels": 4}
    return lb.data.load("digits", **options), slots, objective, settings


def _third():
    """A condition that is no part of x."""
    from sklearn.datasets import load_digits

    return {"third": load_digits().target % 3}


def interrupt(model, record):
    signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("one_thread", "no_pictures")
@pytest.mark.parametrize("name", PRESETS)
def test_it_trains_resumes_saves_loads_evaluates_and_samples(name, tmp_path):
    data, slots, objective, settings = parts_of(name, condition="label" if name == "cvae" else None)
    options = {"objective": objective, "epochs": 2, "batch_size": 500, "evaluations": 2, "progress": False}
    options |= settings

    def fresh():
        torch.manual_seed(0)
        return lb.VAE.for_data(data, **slots)

    before = {key: value.clone() for key, value in fresh().state_dict().items()}
    whole = lb.fit(fresh(), data, out=tmp_path / "whole", **options)
    assert whole.stopped == "finished"
    assert any(not torch.equal(value, before[key]) for key, value in whole.model.state_dict().items())
    cut = lb.fit(fresh(), data, out=tmp_path / "cut", callback=interrupt, **options)
    assert cut.stopped == "interrupted"
    resumed = lb.fit(fresh(), data, out=tmp_path / "cut", resume=True, **options)
    assert resumed.steps == whole.steps
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key

    again = lb.load(tmp_path / "whole")
    x, c = next(iter(data.test.batches(6)))
    one = None if c is None else {"label": 1}
    assert again.sample(3, one, seed=1).shape == (3, *data.spec.event_shape)
    assert torch.equal(again.sample(3, one, seed=1), whole.model.sample(3, one, seed=1))
    assert again.reconstruct(x, c).shape == x.shape
    assert again.encode(x, c).shape == (6, *again.latent_shape)
    if name in NO_LIKELIHOOD:
        with pytest.raises(lb.errors.LowerboundError, match=r"density|likelihood"):
            again.log_prob(x, c)
        return
    assert torch.equal(again.log_prob(x, c, 5, seed=2), whole.model.log_prob(x, c, 5, seed=2))
    found = lb.evaluate.summary(again, data.test, samples=5, limit=20, progress=False)
    assert math.isfinite(found["nll"])


@pytest.mark.parametrize("name", [n for n in PRESETS if preset(n).get("data", {}).get("condition") is None])
def test_it_takes_a_condition(name):
    data, slots, objective, settings = parts_of(name, condition="label")
    torch.manual_seed(0)
    model = lb.VAE.for_data(data, **slots)
    lb.fit(model, data, objective=objective, epochs=1, batch_size=500, progress=False, **settings)
    x, c = next(iter(data.test.batches(6)))
    assert model.sample(3, c=1, seed=0).shape == model.sample(3, c=[0, 1, 2], seed=0).shape
    assert not torch.equal(model.reconstruct(x, 1), model.reconstruct(x, 2))
    if name not in NO_LIKELIHOOD:
        assert model.log_prob(x, c, samples=4).isfinite().all()


def test_each_has_a_line_and_a_source_and_the_list_prints_them(capsys):
    list_names("presets")
    printed = capsys.readouterr().out
    for name, row in PRESETS.items():
        assert f"\n{name} " in "\n" + printed
        assert row.summary[0] == row.summary[0].strip() != ""
        assert row.source == "" or re.search(r"\d{4}", row.source), name
    numbers = [
        number for row in PRESETS.values() for number in re.findall(r"arXiv:(\S+?)[,;]?(?:\s|$)", row.source)
    ]
    assert all(re.fullmatch(r"\d{4}\.\d{4,5}", number) for number in numbers)
