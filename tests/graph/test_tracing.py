from __future__ import annotations

import pytest
import torch
from networks import make
from torch import nn

import splitimpera as sei
from splitimpera.core.errors import CutError, ShapeError, TraceError
from splitimpera.cost.work import uncosted
from splitimpera.models.recipes import RECIPES


def image(n=1):
    return torch.randn(n, 3, 8, 8)


def test_activations_and_normalisations_fold_into_the_layer_that_they_follow():
    graph = sei.trace(make("Chain"), image())
    assert [layer.name for layer in graph.layers] == ["body.0", "body.3", "body.4", "mean", "head"]
    assert [layer.operation for layer in graph.layers] == ["conv2d", "max_pool2d", "conv2d", "mean", "linear"]


def test_a_blocks_output_bears_the_blocks_name():
    graph = sei.trace(RECIPES["digits-resnet20"].build(), torch.zeros(1, 1, 32, 32))
    names = [cut.name for cut in graph.cuts]
    assert "layer1.0" in names
    assert "layer2.0.conv1" in names
    assert graph.cut("layer1.0").single
    assert len(graph.cut("layer1.0.conv1").tensors) == 2  # inside a block the shortcut crosses too


def test_a_module_called_twice_has_two_names():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.conv(self.conv(x).relu()).mean((2, 3))

    assert [layer.name for layer in sei.trace(Twice(), image()).layers] == ["conv", "conv@1", "mean"]
    # an alias keeps the name that it was called by
    assert [layer.name for layer in sei.trace(make("SharedModule"), image()).layers][:2] == ["conv", "alias"]


def test_vgg16s_shape_has_thirteen_convolutions_five_pools_three_linear_layers():
    graph = sei.trace(RECIPES["digits-vgg16"].build(), torch.zeros(1, 1, 32, 32))
    operations = [layer.operation for layer in graph.layers]
    assert [operations.count(name) for name in ("conv2d", "max_pool2d", "linear")] == [13, 5, 3]
    assert len(operations) == 21
    assert all(cut.single for cut in graph.cuts)


def test_macs_bytes_and_parameters_by_hand():
    graph = sei.trace(make("Chain"), image())
    first, last = graph.layers[0], graph.layers[-1]
    assert first.macs == 6 * 6 * 4 * 3 * 3 * 3
    assert first.parameters == 4 * 3 * 9 + 4 + 4 + 4
    assert last.macs == 6 * 5
    cut = graph.cut("body.0")
    assert cut.tensors[0].shape == (4, 6, 6)
    assert cut.bytes == 4 * 6 * 6 * 4
    assert cut.macs_head == first.macs
    assert cut.macs_head + cut.macs_tail == sum(layer.macs for layer in graph.layers)
    model = make("Chain")
    assert graph.cuts[-1].parameters_head == sum(p.numel() for p in model.parameters())


def test_macs_of_transposed_grouped_and_attention_layers():
    unet = {layer.name: layer for layer in sei.trace(make("UNet"), image()).layers}
    assert unet["up"].macs == 4 * 4 * 4 * 3 * 2 * 2  # every input element meets out x kernel weights
    gates = {layer.name: layer for layer in sei.trace(make("SqueezeExcite"), image()).layers}
    assert gates["depthwise"].macs == 8 * 8 * 8 * 9
    tokens = {layer.name: layer for layer in sei.trace(make("Tokens"), image()).layers}
    assert tokens["scaled_dot_product_attention"].macs == 2 * 5 * 5 * 8
    assert tokens["qkv"].macs == 5 * 8 * 24


class Einsum(nn.Module):
    def forward(self, x):
        return torch.einsum("bij,bjk->bik", x, x).flatten(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory = nn.LSTM(8, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.memory(x)[0][:, -1])


class Unknown(nn.Module):
    def forward(self, x):
        return torch.linalg.inv(x @ x.transpose(1, 2) + torch.eye(4)).flatten(1)


def test_macs_of_operations_that_are_made_of_several():
    (einsum,) = sei.trace(Einsum().eval(), torch.zeros(1, 4, 16)[:, :, :4]).layers
    assert (einsum.operation, einsum.macs) == ("einsum", 4 * 4 * 4)
    layers = {layer.name: layer.macs for layer in sei.trace(Recurrent().eval(), torch.zeros(1, 5, 8)).layers}
    assert layers == {"memory": 5 * (8 + 16) * 4 * 16, "head": 16 * 3}


def test_operations_whose_cost_nobody_knows_are_listed():
    graph = sei.trace(Unknown().eval(), torch.randn(1, 4, 6))
    assert sum(layer.macs for layer in graph.layers) == 4 * 6 * 4  # of the product before it
    assert any("inv" in name for name in uncosted(graph))


def test_a_selection_crosses_where_it_is_smaller_than_what_it_selects_from():
    graph = sei.trace(make("Tokens"), image())
    assert graph.cuts[-2].tensors[0].shape == (8,)  # the class token, not all five


def test_channels_of_tokens_are_last_and_of_maps_first():
    graph = sei.trace(make("Tokens"), image())
    assert graph.cut("patch").tensors[0].channel_dim == 0
    assert graph.cut("patch").tensors[0].shape == (8, 2, 2)
    assert graph.cut("cat").tensors[0].shape == (5, 8)
    assert graph.cut("cat").tensors[0].channel_dim == 1


def test_the_input_is_cut_zero_and_the_result_the_last():
    graph = sei.trace(make("Skip"), image())
    assert graph.cuts[0].name == "input"
    assert graph.cuts[0].tensors[0].shape == (3, 8, 8)
    assert graph.cuts[-1].tensors[0].shape == (5,)
    assert [cut.index for cut in graph.cuts] == list(range(len(graph.layers) + 1))


def test_a_result_that_is_a_view_crosses_the_last_cut_as_it_is():
    assert sei.trace(make("ResultIsView"), image()).cuts[-1].tensors[0].shape == (5,)


def test_unknown_cuts_name_the_known_ones():
    graph = sei.trace(make("Chain"), image())
    with pytest.raises(CutError, match=r"no layer is called 'body\.9'.*did you mean"):
        graph.cut("body.9")
    with pytest.raises(CutError, match="cuts 0 to 5"):
        graph.cut(6)


def test_data_that_the_model_refuses():
    with pytest.raises(ShapeError, match=r"refuses inputs of shape \(2, 4, 8, 8\)"):
        sei.trace(make("Chain"), torch.zeros(1, 4, 8, 8))


def test_control_flow_on_data_is_refused_with_the_line():
    class Undecided(nn.Module):
        def forward(self, x):
            if x.sum() > 0:
                return x
            return -x

    with pytest.raises(TraceError, match=r"test_tracing\.py, line \d+, in forward"):
        sei.trace(Undecided(), image())


def test_a_network_that_fixes_the_batch_is_refused():
    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(2, -1)

    with pytest.raises(TraceError, match="batch"):
        sei.trace(Fixed(), image())


@pytest.mark.slow
def test_block_cuts_do_not_cut_through_a_block():
    blocks = [
        cut.name for cut in sei.trace(RECIPES["digits-resnet20"].build(), torch.zeros(1, 1, 32, 32)).cuts if cut.block
    ]
    assert blocks[:3] == ["input", "conv1", "layer1.0"]
    assert "layer1.0.conv1" not in blocks
    from splitimpera.models.reference import REFERENCE

    graph = sei.trace(REFERENCE["mobilenet_v2"](), torch.zeros(1, 3, 32, 32))
    blocks = [cut.name for cut in graph.cuts if cut.block]
    assert len(blocks) < sum(cut.single for cut in graph.cuts)
    assert [name for name in blocks if name.startswith("features.2")] == ["features.2.conv.2"]  # the block's last layer
    assert "features.3" in blocks


def test_a_network_that_is_random_in_eval_mode_is_refused():
    class Random(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) + torch.rand(3)

    with pytest.raises(TraceError, match="computes something else"):
        sei.trace(Random(), image())


def test_a_write_through_a_conversion_that_converts_nothing_is_seen():
    class Converted(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            y = self.conv(x)
            z = y.to(torch.float32)
            z += 1
            return (y + z).mean((2, 3))

    model, x = Converted(), image(3)
    graph = sei.trace(model, x)
    with torch.no_grad():
        for cut in graph.cuts:
            partition = sei.split(graph, cut)
            torch.testing.assert_close(partition.tail(partition.head(x)), model(x))


def test_names_of_modules_are_printable_and_short_and_differ():
    model = nn.Sequential()
    for name in ("\x1b[2J", "x" * 5000 + "1", "x" * 5000 + "2"):
        model.add_module(name, nn.Conv2d(3, 3, 3))
    names = [layer.name for layer in sei.trace(model, image()).layers]
    assert names[0] == "\\x1b[2J"
    assert all(name.isprintable() and len(name) < 250 for name in names)
    assert len(set(names)) == 3
    with pytest.raises(CutError) as caught:
        sei.trace(model, image()).cut("\x1b[2J" * 1000)
    assert len(str(caught.value)) < 1000
