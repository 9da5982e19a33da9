"""Cells along the line between two points of the condition: each example has its own line."""

import numpy as np
import pytest
import torch

from lowerbound.errors import ConfigError
from lowerbound.nn.cells import CellDecoder, CellEncoder, on_line

K, D, L, E = 6, 3, 2, 10  # cells, dimensions, Gaussian part, context


def lines(context):
    """The points of every example, by a loop in numpy: (B, K, D)."""
    c = context.numpy()
    return np.array([[row[:D] + k / (K - 1) * (row[D : 2 * D] - row[:D]) for k in range(K)] for row in c])


@pytest.fixture
def encoder():
    return CellEncoder((D,), (2, K + L), cells=K, hidden=(7,), between=True, context=E)


@pytest.fixture
def decoder():
    """A decoder whose network gives 0: it stays at the centres."""
    decoder = CellDecoder((K + L,), (2, D), cells=K, hidden=(7,), between=True, context=E)
    for parameter in decoder.body.parameters():
        torch.nn.init.zeros_(parameter)
    return decoder


def codes(k):
    return torch.cat([torch.nn.functional.one_hot(k, K).float(), torch.randn(len(k), L)], -1)


def test_points_of_the_line(float64):
    context = torch.randn(5, E)
    found = on_line(context, D, K)
    np.testing.assert_allclose(found, lines(context), atol=1e-12)
    np.testing.assert_array_equal(found[:, 0], context[:, :D])
    np.testing.assert_array_equal(found[:, -1], context[:, D : 2 * D])
    np.testing.assert_array_equal(on_line(context, D, 1)[:, 0], context[:, :D])


@pytest.mark.parametrize(("examples", "contexts"), [(8, 8), (8, 1), (1, 1)])
def test_the_encoder_names_the_nearest_point_of_its_own_line(encoder, examples, contexts):
    for _ in range(10):
        x, context = torch.randn(examples, D), torch.randn(contexts, E)
        log_probs, zeros = encoder(x, context)[:, :, :K].unbind(1)
        places = np.broadcast_to(lines(context), (examples, K, D))
        nearest = np.linalg.norm(x.numpy()[:, None] - places, axis=-1).argmin(1)
        np.testing.assert_array_equal(log_probs.argmax(1), nearest)
        assert (log_probs.gather(1, torch.tensor(nearest)[:, None]) == 0).all()
        assert (log_probs.exp().sum(1) == 1).all()
        assert (zeros == 0).all()


def test_the_encoder_reads_x_relative_to_the_point(encoder):
    """Moved with its line, x has the same place in its cell: what the network is given differs by x alone."""
    seen = []
    encoder.body.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    encoder.reach.copy_(torch.tensor([1.0, 2.0, 4.0]))
    x, context = torch.randn(4, D), torch.randn(4, E)
    encoder(x, context)
    places = lines(context)
    nearest = np.linalg.norm(x.numpy()[:, None] - places, axis=-1).argmin(1)
    within = (x.numpy() - places[np.arange(4), nearest]) / [1, 2, 4]
    np.testing.assert_allclose(seen[0][:, 0], x, atol=1e-6)
    np.testing.assert_allclose(seen[0][:, 1], within, atol=1e-5)


@pytest.mark.parametrize(("samples", "contexts"), [(1, 5), (4, 5), (9, 1), (1, 1)])
def test_the_decoder_starts_at_the_point_of_its_own_line(decoder, samples, contexts):
    """S samples of each of B examples come sample by sample: row s B + b belongs to example b."""
    k, context = torch.randint(K, (samples * contexts,)), torch.randn(contexts, E)
    x = decoder(codes(k), context)
    assert x.shape == (samples * contexts, 2, D)
    places = lines(context)
    for row, cell in enumerate(k.tolist()):
        np.testing.assert_allclose(x[row, 0].detach(), places[row % contexts, cell], atol=1e-6)
    assert (x[:, 1] == 0).all()


def test_the_decoder_moves_by_its_reach(decoder):
    decoder.reach.copy_(torch.tensor([0.1, 1.0, 10.0]))
    with torch.no_grad():
        list(decoder.body.parameters())[-1].view(2, D)[0] = torch.tensor([1.0, 2.0, 3.0])
    context = torch.randn(3, E)
    x = decoder(codes(torch.tensor([0, 3, 5])), context)[:, 0].detach()
    np.testing.assert_allclose(
        x.numpy() - lines(context)[[0, 1, 2], [0, 3, 5]], [[0.1, 2, 30]] * 3, rtol=1e-4
    )


def test_what_was_encoded_is_decoded_near_itself(encoder, decoder):
    """The point that the encoder names is the one that the decoder starts at."""
    context = torch.randn(6, E)
    on = torch.tensor(lines(context)[np.arange(6), [0, 1, 2, 3, 4, 5]], dtype=torch.float32)
    k = encoder(on, context)[:, 0, :K].argmax(1)
    assert k.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(decoder(codes(k), context)[:, 0].detach(), on, atol=1e-6)


def test_start_and_goal_in_one_place(encoder):
    context = torch.ones(2, E)
    assert torch.isfinite(encoder(torch.randn(2, D), context)).all()


def test_a_context_without_room_for_two_points_is_refused():
    for build in (
        lambda n: CellEncoder((D,), (2, K + L), cells=K, between=True, context=n),
        lambda n: CellDecoder((K + L,), (1, D), cells=K, between=True, context=n),
    ):
        build(2 * D)
        for n in (0, 2 * D - 1):
            with pytest.raises(ConfigError, match="begins with two points of 3 numbers"):
                build(n)
