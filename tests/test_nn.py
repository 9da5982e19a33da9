"""The networks: shapes, gradients, initialisation, and the formula of each layer."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lowerbound.errors import ConfigError, ShapeError
from lowerbound.nn import (
    MLP,
    AffineMLP,
    CellDecoder,
    CellEncoder,
    ConvDecoder,
    ConvEncoder,
    ResNetDecoder,
    ResNetEncoder,
)
from lowerbound.nn.cells import lattice, place_cells, split_map
from lowerbound.nn.layers import ACTIVATIONS, Residual, double, gain, halve, initialise
from lowerbound.nn.packing import packed
from lowerbound.nn.resnet import group_norm

IMAGE = (3, 7, 5)
SMALL = {"channels": (8, 16), "hidden": 12}
# two of each kind of layer, on images of odd sizes
NETWORKS = {
    "mlp": lambda **options: MLP(IMAGE, (2, 4), hidden=(12, 12), **options),
    "mlp-residual": lambda **options: MLP(
        IMAGE, (2, 4), hidden=(12, 12, 8), residual=True, norm=True, **options
    ),
    "affine-mlp": lambda **options: AffineMLP(IMAGE, (2, 4), hidden=(12, 12), **options),
    "conv-encoder": lambda **options: ConvEncoder(IMAGE, (2, 4), **SMALL, **options),
    "conv-decoder": lambda **options: ConvDecoder((4,), (2, *IMAGE), **SMALL, **options),
    "resnet-encoder": lambda **options: ResNetEncoder(IMAGE, (2, 4), **SMALL, blocks=1, **options),
    "resnet-decoder": lambda **options: ResNetDecoder((4,), (2, *IMAGE), **SMALL, blocks=1, **options),
}
ENCODERS, DECODERS = [ConvEncoder, ResNetEncoder], [ConvDecoder, ResNetDecoder]
every_network = pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def inputs(network, *lead, **options):
    return torch.randn(*lead, *network.in_shape, **options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
@settings(max_examples=25, deadline=None)
@given(
    image=st.tuples(st.integers(1, 4), st.integers(1, 33), st.integers(1, 33)),
    parameters=st.integers(0, 2),
    batch=st.integers(1, 3),
    channels=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
)
def test_any_image_size_gives_the_exact_shape_in_training(
    kind, image, parameters, batch, channels, activation
):
    image_out = (parameters, *image) if parameters else image
    shapes = (image, (2, 3)) if kind in ENCODERS else ((3,), image_out)
    network = kind(*shapes, channels=channels, hidden=5, activation=activation).train()
    y = network(inputs(network, batch))
    assert y.shape == (batch, *shapes[1])
    assert y.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1), (7, 1), (8, 1), (1, 7), (2, 2), (5, 3)])
@pytest.mark.parametrize("build", [halve(32), double(32), partial(nn.Conv2d, 32, kernel_size=3, padding=1)])
def test_a_convolution_has_the_gradient_of_32_bits_in_16_on_any_size(build, size):
    layer, x = build(64), torch.randn(16, 32, *size)
    y = layer(x)
    weight = torch.randn_like(y)
    truth = torch.autograd.grad((y * weight).sum(), layer.weight)[0]
    for _ in range(3):  # a gradient that nobody has written holds what lies there by chance
        junk = [torch.full((n,), torch.nan) for n in (truth.numel(), truth.numel() // 2) * 3]
        del junk
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = layer(x)
        found = torch.autograd.grad((y.float() * weight).sum(), layer.weight)[0]
        assert (found - truth).norm() < 0.02 * truth.norm()


@pytest.mark.parametrize("size", [(1, 1), (7, 1), (8, 1), (7, 4)])
def test_halving_is_a_convolution_of_stride_2(size):
    layer, x = halve(3)(5), torch.randn(2, 3, *size)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, stride=2, padding=1))


@settings(max_examples=25, deadline=None)
@given(
    shapes=st.tuples(*[st.lists(st.integers(1, 5), min_size=1, max_size=3)] * 2),
    lead=st.lists(st.integers(0, 3), max_size=3),
    hidden=st.lists(st.integers(2, 6), max_size=3),
    flags=st.tuples(st.booleans(), st.booleans()),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
)
def test_an_mlp_takes_any_shapes_and_leading_axes(shapes, lead, hidden, flags, activation):
    residual, norm = flags
    network = MLP(*shapes, hidden=hidden, activation=activation, residual=residual, norm=norm)
    assert network(inputs(network, *lead)).shape == (*lead, *shapes[1])


@every_network
def test_examples_do_not_see_each_other(build):
    network = build().double()
    x = inputs(network, 2, 3, dtype=torch.float64)
    one_by_one = torch.stack([torch.stack([network(example) for example in row]) for row in x])
    torch.testing.assert_close(network(x), one_by_one)


@every_network
def test_float64_stays_float64(build):
    network = build().double()
    assert network(inputs(network, 2, dtype=torch.float64)).dtype == torch.float64


@every_network
@pytest.mark.parametrize("activation", ["silu", "gated"])
def test_autocast_computes_in_bfloat16_near_the_float32_result(build, activation):
    network = build(activation=activation)
    x = inputs(network, 2)
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), network(x), atol=0.03, rtol=0.03)


@every_network
@every_activation
def test_a_gradient_reaches_every_parameter(build, activation):
    network = build(activation=activation).double()
    for parameter in network.parameters():  # away from the zeros, such as a residual block's last convolution
        parameter.data += 0.1 * torch.randn_like(parameter)
    network(inputs(network, 3, dtype=torch.float64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-8, name


@every_network
def test_a_fresh_network_gives_almost_its_output_bias(build):
    network = build()
    value = torch.linspace(-20.0, 20.0, math.prod(network.out_shape)).reshape(network.out_shape)
    if len(network.out_shape) > 2:  # one number per channel is all that a convolution can give
        value = value.mean((-2, -1), keepdim=True).expand(network.out_shape)
    network.set_output_bias(value)
    distance = network(inputs(network, 50)) - value
    assert 1e-4 < distance.square().mean().sqrt() < 0.3


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_the_output_bias_of_a_linear_layer_is_the_value(shape):
    network, value = MLP((4,), shape), torch.randn(shape, dtype=torch.float64)
    weights = network.output.weight.clone()
    network.set_output_bias(value)
    assert torch.equal(network.output.bias, value.float().flatten())
    assert torch.equal(network.output.weight, weights)
    assert network.output.bias.requires_grad


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("shape", [(3, 7, 5), (2, 3, 7, 5)])
def test_the_output_bias_of_a_convolution_is_the_mean_over_the_pixels(decoder, shape):
    network, value = decoder((4,), shape, **SMALL), torch.randn(shape)
    network.set_output_bias(value)
    torch.testing.assert_close(network.output.bias, value.mean((-2, -1)).flatten())
    with torch.no_grad():
        network.output.weight.zero_()
    expected = value.mean((-2, -1), keepdim=True).expand(shape)
    torch.testing.assert_close(network(torch.randn(4)), expected)


@every_network
def test_an_output_bias_of_another_shape_is_refused(build):
    network = build()
    with pytest.raises(ShapeError, match="output bias must have shape"):
        network.set_output_bias(torch.zeros(math.prod(network.out_shape)))


def test_an_mlp_without_hidden_layers_is_one_affine_map():
    network = MLP((2, 3), (2, 2), hidden=())
    network.set_output_bias(torch.randn(2, 2))
    x = torch.randn(5, 2, 3)
    expected = F.linear(x.flatten(1), network.output.weight, network.output.bias)
    torch.testing.assert_close(network(x).flatten(1), expected)
    assert len(list(network.parameters())) == 2


def test_a_hidden_layer_is_activation_of_norm_of_affine():
    network = MLP((3,), (2,), hidden=(4,), activation="tanh", norm=True).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    affine = network.layers[1]
    h = torch.tanh(F.layer_norm(x @ affine.weight.T + affine.bias, (4,)))
    torch.testing.assert_close(network(x), h @ network.output.weight.T + network.output.bias)


def test_the_gated_linear_layer_is_its_formula():
    network = MLP((3,), (4,), hidden=(4,), activation="gated").double()
    nn.init.normal_(network.layers[1].bias)
    x = torch.randn(5, 3, dtype=torch.float64)
    A, B = network.layers[1].weight.chunk(2)
    a, b = network.layers[1].bias.chunk(2)
    expected = (x @ A.T + a) * torch.sigmoid(x @ B.T + b)
    torch.testing.assert_close(network.layers(x), expected)


def test_the_gated_convolution_is_its_formula():
    network = ConvEncoder((2, 5, 5), (1,), channels=(3,), activation="gated").double()
    convolution, gate = network.layers[0], network.layers[1]
    x = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    A, B = (F.conv2d(x, weight, stride=2, padding=1) for weight in convolution.weight.chunk(2))
    torch.testing.assert_close(gate(convolution(x)), A * torch.sigmoid(B))


def test_an_mlp_adds_its_skips_where_two_hidden_widths_agree():
    network = MLP((4,), (2,), hidden=(4, 4, 6, 6), activation="tanh", residual=True).double()
    one, two, three, four = (module for module in network.layers.modules() if isinstance(module, nn.Linear))
    x = torch.randn(5, 4, dtype=torch.float64)
    h = torch.tanh(one(x))  # the input is no hidden layer
    h = h + torch.tanh(two(h))
    h = torch.tanh(three(h))
    h = h + torch.tanh(four(h))
    torch.testing.assert_close(network.layers(x), h)


@pytest.mark.parametrize("activation", ["silu", "gated"])
def test_a_resnet_block_is_its_formula_and_starts_as_the_identity(activation):
    network = ResNetEncoder((3, 8, 8), (1,), channels=(16,), blocks=1, activation=activation).double()
    (block,) = (module for module in network.modules() if isinstance(module, Residual))
    first, last = (module for module in block if isinstance(module, nn.Conv2d))
    x = torch.randn(2, 16, 4, 4, dtype=torch.float64)
    assert torch.equal(block(x), x)

    nn.init.normal_(last.weight)
    if activation == "gated":
        h = F.glu(F.group_norm(first(F.group_norm(x, 2)), 4), 1)
    else:
        h = F.silu(F.group_norm(first(F.silu(F.group_norm(x, 2))), 2))
    torch.testing.assert_close(block(x), x + last(h))


@pytest.mark.parametrize(
    ("channels", "groups"), [(2, 1), (8, 1), (16, 2), (24, 3), (31, 1), (64, 8), (512, 32)]
)
def test_groups_have_at_least_eight_channels(channels, groups):
    assert group_norm(channels).num_groups == groups


def test_a_single_channel_is_not_normalised_away():
    network = ResNetEncoder((1, 1, 1), (1,), channels=(1,), blocks=1, hidden=4, activation="tanh")
    low, high = network(torch.tensor([[[[-1.0]]], [[[1.0]]]]))
    assert (low - high).abs() > 1e-4


@every_activation
def test_the_gain_keeps_the_second_moment(activation):
    e = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    density = torch.exp(-e.square() / 2) / math.sqrt(2 * math.pi) * (e[1] - e[0])
    if activation == "gated":  # E (a σ(b))² = E a² E σ(b)²
        second_moment = (torch.sigmoid(e).square() * density).sum().item()
    else:
        second_moment = (ACTIVATIONS[activation][0]()(e).square() * density).sum().item()
    assert gain(activation) ** 2 * second_moment == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Linear(300, 400), torch.Size([200, 300])),
        (nn.Conv2d(30, 40, 3), torch.Size([8, 30, 16, 16])),
        (nn.ConvTranspose2d(30, 40, 4, 2, 3), torch.Size([8, 30, 16, 16])),  # its inner pixels
    ],
    ids=["linear", "convolution", "transposed"],
)
def test_initialisation_gives_pre_activations_of_the_stated_variance(layer, x):
    y = initialise(layer, gain=2.0)(torch.randn(x))
    assert y.square().mean().item() == pytest.approx(4, rel=0.05)
    assert not layer.bias.any()


@every_activation
@pytest.mark.parametrize("residual", [False, True])
def test_the_signal_survives_twenty_layers(activation, residual):
    network = MLP((256,), (1,), hidden=(256,) * 20, activation=activation, residual=residual)
    size = network.layers(torch.randn(100, 256)).square().mean().sqrt()
    assert 0.1 < size < 10


@every_network
def test_dropout_acts_only_in_training(build):
    network = build(dropout=0.5)
    x = inputs(network, 4)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_input_dropout_drops_numbers_of_the_input_only_in_training():
    network = MLP((1000,), (1000,), hidden=(), input_dropout=0.25)
    with torch.no_grad():
        network.output.weight.copy_(torch.eye(1000))
    y = network(torch.ones(20, 1000))
    kept = y != 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.02)
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / 0.75))
    assert torch.equal(network.eval()(torch.ones(1000)), torch.ones(1000))


@every_network
def test_without_dropout_no_random_number_is_drawn(build):
    network = build()
    x, state = inputs(network, 2), torch.get_rng_state()
    network.train()(x)
    assert torch.equal(torch.get_rng_state(), state)


@every_network
def test_the_repr_builds_the_same_network(build):
    network = build(activation="elu", dropout=0.25)
    again = eval(repr(network))
    assert repr(again) == repr(network)
    assert again.dropout == 0.25
    again.load_state_dict(network.state_dict())
    x = inputs(network, 2)
    assert torch.equal(again.eval()(x), network.eval()(x))


def test_shapes_become_tuples():
    network = ConvDecoder([4], [2, 1, 8, 8], channels=[3, 4])
    assert (network.in_shape, network.out_shape, network.channels) == ((4,), (2, 1, 8, 8), (3, 4))


def test_the_decoder_goes_back_through_the_sizes_of_the_encoder():
    def sizes(network, x):
        seen = []
        for layer in network.layers:
            x = layer(x)
            if x.dim() == 4 and x.shape[-2:] not in seen:
                seen.append(x.shape[-2:])
        return seen

    encoder, decoder = ConvEncoder((1, 28, 9), (2,)), ConvDecoder((2,), (1, 28, 9))
    down = sizes(encoder, torch.zeros(1, 1, 28, 9))
    up = [size for size in sizes(decoder, torch.zeros(1, 2)) if size in down]
    assert down == [(14, 5), (7, 3), (4, 2)]
    assert up == down[::-1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MLP((3,), (2,), activation="sillu"), "'sillu'; did you mean 'silu'"),
        (lambda: ConvEncoder((1, 8, 8), (2,), activation="zzz"), "options: elu, gated, gelu"),
        (lambda: MLP((3,), (2,), activation=None), "unknown activation None"),
        (lambda: MLP((), (2,)), r"in_shape .* got \(\)"),
        (lambda: MLP(3, (2,)), "in_shape must be a non-empty tuple of positive integers; got 3"),
        (lambda: MLP((3,), (2, 0)), r"out_shape .* got \(2, 0\)"),
        (lambda: MLP((3,), (2,), hidden=(4, -1)), r"hidden must be a tuple .* got \(4, -1\)"),
        (lambda: MLP((3,), (2,), hidden=(4.0,)), r"hidden .* got \(4.0,\)"),
        (lambda: MLP((3,), (2,), hidden=(4, 1), norm=True), r"width 1 to zero; got hidden=\(4, 1\)"),
        (lambda: MLP((3,), (2,), dropout=1.0), r"dropout must be a number in \[0, 1\); got 1.0"),
        (lambda: MLP((3,), (2,), dropout=float("nan")), "dropout .* got nan"),
        (lambda: MLP((3,), (2,), input_dropout=-0.1), "input_dropout .* got -0.1"),
        (lambda: ConvEncoder((28, 28), (2,)), r"in_shape must be \(C, H, W\) for images; got \(28, 28\)"),
        (lambda: ResNetEncoder((2, 1, 8, 8), (2,)), r"in_shape must be \(C, H, W\)"),
        (lambda: ConvDecoder((2,), (8, 8)), r"out_shape must be \(C, H, W\) or \(P, C, H, W\)"),
        (lambda: ResNetDecoder((2,), (1, 2, 1, 8, 8)), r"out_shape .* got \(1, 2, 1, 8, 8\)"),
        (lambda: ConvEncoder((1, 8, 8), (2,), channels=()), r"channels must be a non-empty .* got \(\)"),
        (lambda: ResNetDecoder((2,), (1, 8, 8), channels=(0,)), r"channels .* got \(0,\)"),
        (lambda: ConvDecoder((2,), (1, 8, 8), hidden=-1), "hidden must be a positive integer; got -1"),
        (lambda: ResNetEncoder((1, 8, 8), (2,), blocks=0), "blocks must be a positive integer; got 0"),
        (lambda: ResNetEncoder((1, 8, 8), (2,), blocks=True), "blocks .* got True"),
    ],
)
def test_a_wrong_option_is_refused_with_what_came(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize("shape", [(28, 28), (5, 28, 28), (28,), (1, 28, 27)])
def test_an_input_of_another_shape_is_refused(shape):
    network = ConvEncoder((1, 28, 28), (2,))
    with pytest.raises(ShapeError, match=r"shape \(\.\.\., 1, 28, 28\); got \(" + str(shape[0])):
        network(torch.zeros(shape))


# ---------------------------------------------------------------------------------------------- cells
def test_the_lattice_goes_along_the_first_axis_first():
    centres = lattice((0.0, 10.0), (3.0, 12.0), (3, 2))
    expected = [[0.5, 10.5], [1.5, 10.5], [2.5, 10.5], [0.5, 11.5], [1.5, 11.5], [2.5, 11.5]]
    torch.testing.assert_close(centres, torch.tensor(expected))
    solid = lattice((0, 0, 0), (2, 3, 4), (2, 3, 4))
    assert solid.shape == (24, 3)
    for i, (x, y, z) in enumerate(solid.tolist()):
        assert i == int(x) + 2 * int(y) + 6 * int(z)
    # The places of a map (F, rows, columns), row by row, are those of the same numbers.
    rows, columns = 2, 3
    place = torch.arange(rows * columns, dtype=torch.float32).reshape(1, 1, rows, columns)
    _, by_place = split_map(place.flatten(1), (1, rows, columns))
    for k, (x, y) in enumerate(lattice((0, 0), (columns, rows), (columns, rows)).tolist()):
        assert by_place[0, k, 0] == place[0, 0, int(y), int(x)]


@pytest.mark.parametrize("shape", [(2,), (3, 4, 4)])
def test_the_encoder_names_the_nearest_centre(shape):
    size = math.prod(shape)
    encoder = CellEncoder(shape, (2, 19), cells=16, hidden=(5,))
    encoder.centres.copy_(torch.randn(16, size))
    encoder.reach.copy_(torch.rand(size) + 0.5)
    x = torch.randn(300, *shape)
    h = encoder(x)
    assert h.shape == (300, 2, 19)
    nearest = [min(range(16), key=lambda k: (p - encoder.centres[k]).norm().item()) for p in x.flatten(1)]
    assert h[:, 0, :16].argmax(1).tolist() == nearest
    assert h[:, 0, :16].softmax(1).sort(1).values[:, -2].max() == 0  # the others have no probability at all
    assert h[:, 0, :16].log_softmax(1).isfinite().all()
    # Beside x the network reads where in its cell x lies.
    within = (x.flatten(1) - encoder.centres[nearest]) / encoder.reach
    torch.testing.assert_close(h[..., 16:], encoder.body(torch.stack([x.flatten(1), within], 1)))
    torch.testing.assert_close(encoder(x.reshape(3, 100, *shape)), h.reshape(3, 100, 2, 19))


def test_the_encoder_finds_the_cell_far_from_the_origin_and_in_16_bits():
    """Where |x|² − 2 x·m + |m|² has lost all its digits, differences have not."""
    centres = 1000 + torch.arange(16.0).unsqueeze(1) / 16
    encoder = CellEncoder((1,), (2, 17), cells=16, hidden=(5,))
    encoder.centres.copy_(centres)
    x = centres + 0.02
    assert encoder(x)[:, 0, :16].argmax(1).tolist() == list(range(16))
    with torch.autocast("cpu", torch.bfloat16):
        h = encoder(x)
    assert h.dtype == torch.float32
    assert h[:, 0, :16].argmax(1).tolist() == list(range(16))


def test_the_decoder_starts_at_the_centre_and_moves_by_its_reach():
    decoder = CellDecoder((7,), (2, 1, 3), cells=5, hidden=(6,), features=4)
    encoder = CellEncoder((1, 3), (2, 7), cells=5, hidden=(6,))
    centres, reach = torch.randn(5, 3), torch.tensor([0.5, 2.0, 1.0])
    place_cells(encoder, decoder, centres, reach)
    assert torch.equal(encoder.centres, decoder.centres)
    assert torch.equal(encoder.reach, decoder.reach)
    z = torch.cat([torch.eye(5), torch.randn(5, 2)], 1)
    y = decoder(z)
    assert y.shape == (5, 2, 1, 3)
    moved = decoder.body(torch.cat([z[:, 5:], decoder.embedding.weight.T], 1))
    torch.testing.assert_close(y[:, 0, 0], centres + reach * moved[:, 0, 0])
    torch.testing.assert_close(y[:, 1], moved[:, 1])
    # The first parameter keeps its start, the others are where they are told to be.
    decoder.set_output_bias(torch.full((2, 1, 3), 7.0))
    torch.testing.assert_close(decoder(z)[:, 0], y[:, 0])
    torch.testing.assert_close(decoder(z)[:, 1], y[:, 1] + 7)
    before = encoder(y[:, 0])
    encoder.set_output_bias(torch.ones(2, 7))
    torch.testing.assert_close(encoder(y[:, 0])[..., 5:], before[..., 5:] + 1)


def test_centres_are_part_of_the_state():
    decoder = CellDecoder((4,), (1, 2), cells=3, hidden=(6,), features=4)
    encoder = CellEncoder((2,), (2, 4), cells=3, hidden=(6,))
    place_cells(encoder, decoder, torch.randn(3, 2), torch.rand(2))
    other = CellDecoder((4,), (1, 2), cells=3, hidden=(6,), features=4)
    other.load_state_dict(decoder.state_dict())
    z = torch.randn(5, 4)
    assert torch.equal(other(z), decoder(z))
    assert {name for name, _ in encoder.named_buffers()} == {"centres", "reach"} <= set(encoder.state_dict())


@pytest.mark.parametrize("lead", [(4,), (3, 4)])
@pytest.mark.parametrize("common", [False, True])
def test_cells_between_two_points_go_with_the_context(lead, common):
    """Start, goal, and one number more; from start to goal five cells of equal length but for the ends."""
    known = {"cells": 5, "hidden": (6,), "between": True, "context": 5}
    encoder = CellEncoder((2,), (2, 7), **known)
    decoder = CellDecoder((7,), (1, 2), features=3, **known)
    place_cells(encoder, decoder, torch.zeros(5, 2), torch.tensor([0.5, 2.0]))
    nn.init.zeros_(decoder.body.output.weight)
    context = torch.randn(1 if common else 4, 5)
    each = context.expand(4, 5)
    x = torch.randn(*lead, 2)
    h = encoder(x, context)
    for at in torch.cartesian_prod(*map(torch.arange, lead)).reshape(-1, len(lead)).tolist():
        start, goal = each[at[-1], :2], each[at[-1], 2:4]
        line = [start + share * (goal - start) for share in (0, 0.25, 0.5, 0.75, 1)]
        nearest = min(range(5), key=lambda k: (x[tuple(at)] - line[k]).norm().item())
        assert h[tuple(at)][0, :5].argmax().item() == nearest
        within = (x[tuple(at)] - line[nearest]) / encoder.reach
        by_hand = encoder.body(torch.stack([x[tuple(at)], within]), each[at[-1]].unsqueeze(0))
        torch.testing.assert_close(h[tuple(at)][:, 5:], by_hand)
        for k in range(5):
            z = torch.cat([torch.eye(5)[k].expand(*lead, 5), torch.randn(*lead, 2)], -1)
            torch.testing.assert_close(decoder(z, context)[tuple(at)][0], line[k])


def test_between_needs_two_points():
    with pytest.raises(ConfigError, match=r"begins with two points of 2 numbers; it has 3"):
        CellEncoder((2,), (2, 7), cells=5, between=True, context=3)
    with pytest.raises(ConfigError, match=r"begins with two points of 2 numbers; it has 0"):
        CellDecoder((7,), (1, 2), cells=5, between=True)


def test_a_map_gives_every_cell_the_features_of_its_place():
    grid = (2, 2, 3)
    decoder = CellDecoder((7,), (1, 2), cells=6, hidden=(5,), map_shape=grid, context=15)
    nn.init.normal_(decoder.body.output.weight)
    z = torch.cat([torch.eye(6), torch.randn(6, 1)], 1)
    context = torch.randn(1, 15)
    y = decoder(z, context)
    for k in range(6):
        other = context.clone()
        features = other[:, 3:].reshape(grid)
        features[:, k // 3, k % 3] += 1
        changed = (decoder(z, other) - y).abs().amax((1, 2)) > 1e-6
        assert changed.tolist() == [i == k for i in range(6)]
    beside = context.clone()
    beside[:, 0] += 1
    assert ((decoder(z, beside) - y).abs().amax((1, 2)) > 1e-6).all()


@pytest.mark.parametrize("network", [CellEncoder((2,), (2, 5), cells=4), CellDecoder((5,), (1, 2), cells=4)])
def test_cells_refuse_inputs_of_another_shape(network):
    with pytest.raises(ShapeError, match="takes inputs of shape"):
        network(torch.zeros(3, 7))
    with pytest.raises(ShapeError, match="takes a context of size 0; got 2"):
        network(torch.zeros(3, *network.in_shape), torch.zeros(3, 2))


@pytest.mark.parametrize(("inputs", "outputs", "bias"), [(3, 5, True), (300, 784, True), (512, 1, False)])
def test_packed_layers_give_their_affine_map(inputs, outputs, bias):
    layer = nn.Linear(inputs, outputs, bias=bias)
    x = torch.randn(7, 4, inputs)
    exact = torch.einsum("...i,oi->...o", x.double(), layer.weight.double())
    exact = exact + layer.bias.double() if bias else exact
    with torch.inference_mode(), packed(layer):
        torch.testing.assert_close(layer(x).double(), exact, atol=1e-5, rtol=1e-5)


def test_packing_ends_with_its_block_and_stays_out_of_other_types():
    network = MLP((6,), (2,), hidden=(4,))
    x = torch.randn(3, 6)
    before = network(x)
    gains = torch.backends.mkldnn.is_available()
    with torch.inference_mode(), packed(network):
        assert ("forward" in network.output.__dict__) == gains
        with packed(network), torch.autocast("cpu", torch.bfloat16):
            assert network(x).dtype == torch.bfloat16
        assert ("forward" in network.output.__dict__) == gains
    assert all("forward" not in module.__dict__ for module in network.modules())
    with torch.no_grad():
        network.output.weight.mul_(2)
        network.output.bias.mul_(2)
    with torch.inference_mode(), packed(network):
        torch.testing.assert_close(network(x), 2 * before)
    with packed(network.double()):
        assert network(x.double()).dtype == torch.float64
