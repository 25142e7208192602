from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import Chain, inputs, make

import splitimpera as sei
from splitimpera.core.errors import DataError, ModelError, UnknownNameError
from splitimpera.models.datasets import Samples
from splitimpera.records.graph import TensorSpec
from splitimpera.saliency.scores import SCORES, STATISTICS, by_channel

# one image, two channels of 1 x 2 positions
A = torch.tensor([[[[1.0, 4.0]], [[2.0, 8.0]]]])
G = torch.tensor([[[[1.0, 3.0]], [[-1.0, 0.0]]]])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cs", 1.25),  # alpha = (2, -0.5); maps ReLU((2 - 1) / 2), ReLU((8 - 4) / 2)
        ("gradient_activation", (1 + 12 + 2 + 0) / 4),
        ("taylor", (6.5 + 1) / 2),
        ("fisher", (13**2 + 2**2) / 2),
        ("pooling_loss", abs(13 - 2 - (4 * 5 / 2 - 1 * 10 / 2))),  # one patch: sums of G times means of A are kept
    ],
)
def test_scores_by_hand(name, value):
    assert SCORES[name](A, G).tolist() == pytest.approx([value])


def test_pooling_loses_nothing_where_patches_are_flat():
    a = torch.randn(3, 2, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    g = torch.randn(3, 2, 8, 8)
    torch.testing.assert_close(SCORES["pooling_loss"](a, g), torch.zeros(3), atol=1e-4, rtol=0)
    assert (SCORES["pooling_loss"](torch.randn(3, 2, 7, 5), torch.randn(3, 2, 7, 5)) > 0).all()


def test_signs_cancel_within_a_channel_and_not_between():
    """Products 3 and -1 in the first channel, 0 and -2 in the second."""
    a = torch.tensor([[[[3.0, 1.0]], [[5.0, 2.0]]]])
    g = torch.tensor([[[[1.0, -1.0]], [[0.0, -1.0]]]])
    assert SCORES["taylor"](a, g).tolist() == pytest.approx([(2 / 2 + 2 / 2) / 2])
    assert SCORES["gradient_activation"](a, g).tolist() == pytest.approx([(3 + 1 + 0 + 2) / 4])


def test_a_code_keeps_one_value_for_four_positions():
    """Five positions are a patch of four, with a mean of 2.5, and one that is kept as it is."""
    a = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 9.0]]])
    g = torch.tensor([[[1.0, 0.0, 0.0, 0.0, 7.0]]])
    assert SCORES["pooling_loss"](a, g).tolist() == pytest.approx([2.5 - 1])


def test_layouts():
    maps = torch.randn(2, 3, 4, 5)
    assert by_channel(maps, TensorSpec("t", (3, 4, 5))) is maps
    tokens = torch.randn(2, 7, 3)
    torch.testing.assert_close(by_channel(tokens, TensorSpec("t", (7, 3), channel_dim=1)), tokens.transpose(1, 2))
    swapped = torch.randn(7, 2, 3)
    made = by_channel(swapped, TensorSpec("t", (7, 3), batch_dim=1, channel_dim=1))
    torch.testing.assert_close(made, swapped.permute(1, 2, 0))
    assert by_channel(torch.randn(2, 3), TensorSpec("t", (3,))).shape == (2, 3, 1)


def test_gradient_agreement_by_hand():
    statistic = STATISTICS["gradient_agreement"]()
    gradients = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [2.0, 0.0], [5.0, 5.0]])[:, :, None]
    classes = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 1, 2]), 3).float()
    for rows in (slice(0, 2), slice(2, 5)):
        statistic.update(gradients[rows], gradients[rows], classes[rows])
    # class 0 agrees (2 of energy 2), class 1 is orthogonal (0 of 8), class 2 has no pair
    assert statistic.value() == pytest.approx(2 / 10)


def test_no_agreement_is_known_of_single_images():
    statistic = STATISTICS["gradient_agreement"]()
    statistic.update(torch.ones(2, 3, 1), torch.ones(2, 3, 1), torch.eye(2))
    assert np.isnan(statistic.value())


def test_logit_alignment_is_linear_cka_whatever_the_batches():
    x, z = torch.randn(40, 6, 3, 3), torch.randn(40, 4)
    statistic = STATISTICS["logit_alignment"]()
    for rows in torch.arange(40).split(7):
        statistic.update(x[rows], x[rows], z[rows])
    a, b = x.mean((2, 3)).double(), z.double()
    first, second = ((t - t.mean(0)) @ (t - t.mean(0)).T for t in (a, b))
    assert statistic.value() == pytest.approx(float((first * second).sum() / (first.norm() * second.norm())))
    itself = STATISTICS["logit_alignment"]()
    itself.update(z[:, :, None], z[:, :, None], z)
    assert itself.value() == pytest.approx(1.0)


def test_several_scores_come_from_one_pass():
    model, (x,) = make("Skip"), inputs("Skip", 5)
    names = (*SCORES.names(), *STATISTICS.names())
    curve = sei.cumulative_saliency(model, x, scores=names, batch=2)
    assert set(curve.scores) == set(names)
    assert all(values.shape == curve.cs.shape for values in curve.scores.values())
    several = [len(sei.trace(model, x).cuts[cut].tensors) > 1 for cut in curve.cuts]
    for name, values in curve.scores.items():
        assert np.isnan(values).tolist() == (several if name == "logit_alignment" else [False] * len(several)), name
    np.testing.assert_allclose(curve.cs, sei.cumulative_saliency(model, x).cs, rtol=1e-6)


def test_groups_of_classes_by_label_and_by_name():
    model, (x,) = make("Chain"), inputs("Chain", 9)
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2])
    names = ("cat", "dog", "cow")
    curve = sei.cumulative_saliency(model, (x, labels), classes=["cat", "dog"], class_names=names)
    assert curve.samples == 5
    np.testing.assert_allclose(curve.cs, sei.cumulative_saliency(model, x[:5]).cs, rtol=1e-5)
    np.testing.assert_allclose(curve.of_classes([0, 1]), curve.cs, rtol=1e-6)
    np.testing.assert_allclose(curve.of_classes([2]), sei.cumulative_saliency(model, x[5:]).cs, rtol=1e-5)
    with pytest.raises(UnknownNameError, match="no class is called 'cwo'; did you mean 'cow'"):
        sei.cumulative_saliency(model, (x, labels), classes=["cwo"], class_names=names)
    with pytest.raises(DataError, match="need labels"):
        sei.cumulative_saliency(model, x, classes=[0])


def test_a_group_of_classes_is_all_that_its_scores_have_seen():
    """Whatever stands beside them in a batch, and where none of them does."""
    model, (x,) = make("Chain"), inputs("Chain", 9)
    labels = torch.tensor([2, 0, 1, 2, 0, 2, 2, 0, 1])
    names = (*SCORES.names(), *STATISTICS.names())
    of_group = sei.cumulative_saliency(model, (x, labels), classes=[0, 1], scores=names, batch=2)
    alone = sei.cumulative_saliency(model, x[labels < 2], scores=names)
    assert of_group.samples == alone.samples == 5
    for name in names:
        np.testing.assert_allclose(of_group.scores[name], alone.scores[name], rtol=1e-4)


def test_a_class_may_be_named_by_its_number_in_words():
    model, (x,) = make("Chain"), inputs("Chain", 4)
    labels = torch.tensor([0, 1, 1, 2])
    for wanted in ([1], ["1"]):
        curve = sei.cumulative_saliency(model, (x, labels), classes=wanted, class_names=("cat", "dog", "cow"))
        assert curve.samples == 2
        assert curve.class_counts == {0: 1, 1: 2, 2: 1}  # the others' curves come from the same pass
        np.testing.assert_allclose(curve.per_class[2], sei.cumulative_saliency(model, x[3:]).cs, rtol=1e-5)


def test_the_progress_knows_how_many_batches_there_are():
    model, (x,) = make("Chain"), inputs("Chain", 5)
    told = []

    def track(batches, what, total):
        batches = list(batches)
        told.append((len(batches), total))
        return batches

    for data in (x, (x, torch.zeros(5, dtype=torch.int64))):
        sei.cumulative_saliency(model, data, batch=2, track=track)
    assert told == [(3, 3), (3, 3)]


def test_a_label_behind_the_last_class_is_refused():
    model, (x,) = make("Chain"), inputs("Chain", 2)
    classes = model(x).shape[1]
    sei.cumulative_saliency(model, (x, torch.tensor([0, classes - 1])), target="label")
    with pytest.raises(DataError, match=f"labels go from 0 to {classes}, the network has {classes} classes"):
        sei.cumulative_saliency(model, (x, torch.tensor([0, classes])), target="label")


def test_streams_of_batches():
    model, (x,) = make("Chain"), inputs("Chain", 10)
    labels = torch.arange(10) % 3
    whole = sei.cumulative_saliency(model, (x, labels))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, labels), batch_size=4)
    for stream in (loader, ((x[i : i + 3], labels[i : i + 3]) for i in range(0, 10, 3)), [Samples(x, labels)]):
        curve = sei.cumulative_saliency(model, stream)
        np.testing.assert_allclose(curve.cs, whole.cs, rtol=1e-5)
        assert curve.per_class.keys() == whole.per_class.keys()
    np.testing.assert_allclose(sei.cumulative_saliency(model, iter([x[:5], x[5:]])).cs, whole.cs, rtol=1e-5)
    with pytest.raises(DataError, match="empty"):
        sei.cumulative_saliency(model, iter([]))
    with pytest.raises(DataError, match="this one is str"):
        sei.cumulative_saliency(model, ["batch"])


def test_several_inputs():
    model, (x, y) = make("TwoInputs"), inputs("TwoInputs", 6)
    curve = sei.cumulative_saliency(model, ((x, y), torch.zeros(6, dtype=torch.int64)), batch=4)
    assert np.isfinite(curve.cs).all()
    assert curve.samples == 6


def test_several_results_want_one_named():
    model, (x,) = make("SeveralResults"), inputs("SeveralResults", 4)
    assert sei.cumulative_saliency(model, x).names[0] == "conv"  # the key "logits" speaks for itself
    with pytest.raises(ModelError, match="no 'logit' with keys logits, more"):
        sei.cumulative_saliency(model, x, output="logit")

    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 5)

        def forward(self, x):
            y = self.conv(x).mean((2, 3))
            return self.head(y), y

    with pytest.raises(ModelError, match="returns 2 results; name one, 0 to 1"):
        sei.cumulative_saliency(Pair(), x)
    assert np.isfinite(sei.cumulative_saliency(Pair(), x, output=0).cs).all()


def test_other_tasks_bring_their_own_target():
    model, (x,) = make("UNet"), inputs("UNet", 4)
    curve = sei.cumulative_saliency(model, x, target=lambda maps, _labels: maps.amax(1).mean((1, 2)))
    assert (curve.cs >= 0).all()
    assert curve.samples == 4


def test_a_path_without_gradient_names_the_cut():
    class Rounded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 5, 3)

        def forward(self, x):
            return self.b((self.a(x) > 0).float()).mean((2, 3))

    with pytest.raises(ModelError, match=r"no gradient reaches cut 1 \(a\)"):
        sei.cumulative_saliency(Rounded(), torch.randn(2, 3, 8, 8))


class RootOfNothing(Chain):
    """Finite logits, by way of sqrt(0), whose gradient is infinite."""

    def forward(self, x):
        return self.head((self.body(x).mean((2, 3)) * 0).sqrt())


def test_dead_layers_and_nan_are_reported():
    model, (x,) = make("Chain"), inputs("Chain", 3)
    torch.nn.init.zeros_(model.head.weight)
    curve = sei.cumulative_saliency(model, x)
    assert set(curve.dead) == {"body.0", "body.3", "body.4", "mean"}
    curve = sei.cumulative_saliency(RootOfNothing(), x)
    assert "body.0" in curve.not_finite
    assert not [c for c in curve.candidates if "maximum" in " ".join(c.reasons)]


def test_half_precision_on_a_cpu_is_refused_and_mixed_precision_is_near():
    model, (x,) = make("Chain"), inputs("Chain", 4)
    full = sei.cumulative_saliency(model, x)
    mixed = sei.cumulative_saliency(model, x, autocast=torch.bfloat16)
    np.testing.assert_allclose(mixed.cs, full.cs, rtol=0.1, atol=1e-4)
    with pytest.raises(ModelError, match=r"half precision.*model\.float\(\)"):
        sei.cumulative_saliency(make("Chain").half(), x.half())
