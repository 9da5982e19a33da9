"""The comparisons compare like with like: the peers' networks and losses are ours, from the same weights."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import lowerbound as lb

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def peers(monkeypatch):
    """Import the modules of ``benchmarks/peers`` as its workers do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    return importlib.import_module


@pytest.fixture
def images(tmp_path):
    """Return the path of a few colour images whose sides are no powers of two."""
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (2000, 3, 12, 10), np.uint8))
    return str(path)


@pytest.fixture
def pair(peers, images):
    """Return both sides' networks with the same weights, and our model."""

    def make(network: str):
        ours = peers("side_ours").Training(images, network, batch=20, precision="fp32")
        encoder, decoder = peers("networks").build(network, (3, 12, 10))
        weights = [*ours.model.encoder.parameters(), *ours.model.decoder.parameters()]
        peers("networks").set_weights(encoder, decoder, weights)
        return ours, encoder, decoder

    return make


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_the_peers_networks_give_what_ours_give(pair, network):
    ours, encoder, decoder = pair(network)
    x = ours.data.train.batch(torch.arange(7))[0]
    q = ours.model.infer(x)
    mean, log_scale = encoder(x)
    torch.testing.assert_close(mean, q.mean)
    torch.testing.assert_close(log_scale.exp(), q.stddev)
    z = torch.randn(7, 32)
    torch.testing.assert_close(torch.sigmoid(decoder(z)), ours.model.decode(z))


def test_the_plain_loss_is_minus_our_bound(peers, pair):
    ours, encoder, decoder = pair("mlp")
    plain = peers("side_plain")
    x = ours.data.train.batch(torch.arange(7))[0]
    model = plain.VAE(encoder, decoder)
    torch.manual_seed(1)
    probabilities, mu, log_variance = model(x)
    theirs = plain.loss_of(probabilities, x, mu, log_variance) / len(x)
    torch.manual_seed(1)
    out = ours.model(x)
    torch.testing.assert_close(theirs, (out.kl() - out.log_likelihood[0]).mean())


def test_a_worker_answers_with_numbers_and_says_what_went_wrong(images):
    make = {"do": "make", "name": "a", "kind": "Training"}
    orders = [
        make | {"arguments": {"images": images, "network": "mlp", "batch": 50}},
        {"do": "call", "name": "a", "method": "run", "arguments": {"images": 100}},
        {"do": "call", "name": "b", "method": "run", "arguments": {}},
    ]
    worker = subprocess.run(
        [sys.executable, str(BENCHMARKS / "peers" / "worker.py"), "plain"],
        input="\n".join(map(json.dumps, orders)),
        capture_output=True,
        text=True,
        check=True,
    )
    made, trained, wrong = map(json.loads, worker.stdout.splitlines())
    assert made == {"answer": None}
    assert trained["answer"]["images"] == 100
    assert trained["answer"]["seconds"] > 0
    assert 0 < trained["answer"]["loss"] < 2 * 3 * 12 * 10  # nats, near 0.7 per pixel at first
    assert "KeyError: 'b'" in wrong["error"]


def test_forward_flops_are_those_of_the_matrix_products(peers):
    wanted = 2 * (784 * 512 + 512 * 512 + 512 * 64 + 32 * 512 + 512 * 512 + 512 * 784)
    assert peers("networks").forward_flops("mlp", (1, 28, 28)) == wanted


def test_our_timed_training_is_that_of_the_second_epoch(peers, images):
    ours = peers("side_ours").Training(images, "mlp", batch=20, precision="fp32")
    answer = ours.run(images=200)
    assert answer["images"] == 200
    assert answer["seconds"] > 0
    assert isinstance(ours.model, lb.VAE)
