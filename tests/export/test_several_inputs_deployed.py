"""Networks with several inputs, from a design to a run over loopback that is verified."""

from __future__ import annotations

import numpy as np
import pytest
from export.designs import designed
from export.loopback_runs import inferred

from splitimpera.bundle.opened import open_bundle
from splitimpera.core.errors import DataError
from splitimpera.deploy.halves import Received, device_half, server_half
from splitimpera.deploy.input_preparation import prepared
from splitimpera.deploy.sources import open_source
from splitimpera.export import export_bundle, write_bundle
from splitimpera.export.placing import files_of
from splitimpera.verification.comparing import verify

pytestmark = pytest.mark.alone

SOURCE = '''
import torch
from torch import nn


class Two(nn.Module):
    """Logits from an image and two numbers."""

    def __init__(self):
        super().__init__()
        self.stem, self.join = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, numbers, image):
        both = torch.cat([self.stem(image).relu().mean((2, 3)), numbers], 1)
        return self.head(self.join(both).relu())


def network():
    torch.manual_seed(3)
    made = Two().eval()
    with torch.no_grad():
        made.head.weight *= 20
    return made


def data():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (90, 8, 8, 1), generator=generator, dtype=torch.uint8)
    numbers = torch.randn(90, 2, generator=generator)
    with torch.no_grad():
        labels = network()(numbers, images.permute(0, 3, 1, 2) / 255).argmax(1)
    return {"image": images, "numbers": numbers}, labels
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The results folder of a design, and exports, each made when it is asked for first."""
    folder = tmp_path_factory.mktemp("several")
    plans = {"cuts": ["stem", "join"], "codecs": ["float32"], "transports": ["tcp"]}
    bottlenecks = {"ratios": [2], "cuts": ["join"], "codecs": ["uint8"], "epochs": [1, 1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLITIMPERA_CACHE", str(folder / "cache"))
        results, made = designed(folder, SOURCE, plans=plans, bottlenecks=bottlenecks), {}

        def bundle(plan):
            if plan not in made:
                exported = export_bundle(results, plan, engine="onnx" if plan[:3] == "SC1" else "torch", samples=20)
                assert exported.manifest.proofs[0].equal == 1
                write_bundle(files_of(exported.manifest, exported.contents), folder / plan)
                made[plan] = open_bundle(folder / plan)
            return made[plan]

        yield results, bundle


@pytest.mark.parametrize(
    "plan",
    [
        "RC-float32-tcp",
        pytest.param("SC1-float32-tcp", marks=pytest.mark.slow),
        pytest.param("SC4-b2-uint8-tcp", marks=pytest.mark.slow),
    ],
)
def test_a_design_is_exported_run_and_verified(run, plan, tmp_path):
    results, exported = run
    bundle = exported(plan)
    assert [entry.shape for entry in bundle.manifest.input.tensors] == [[1, 8, 8], [2]]
    tally = inferred(bundle, tmp_path / "run.jsonl", frames=20)
    assert tally.outcomes == {"ok": 20}
    found = verify(results, [tmp_path / "run.jsonl"])
    (accuracy,) = (one for one in found.quantities if one.name == "accuracy")
    assert accuracy.agrees


def test_where_inputs_come_from(run, tmp_path):
    bundle = run[1]("RC-float32-tcp")
    own = [sample.x for sample in open_source("samples", bundle).samples]
    images, numbers = map(np.stack, zip(*own, strict=True))
    np.savez(tmp_path / "mine.npz", x0=images, x1=numbers)
    (tmp_path / "mine.py").write_text("import numpy as np\n\ndef inputs():\n"
                                      "    arrays = np.load(__file__[:-3] + '.npz')\n"
                                      "    return zip(arrays['x0'], arrays['x1'])\n")  # fmt: skip
    device, server = device_half(bundle), server_half(bundle)
    for source in ("mine.npz", "mine.py:inputs"):
        found = [sample.x for sample in open_source(str(tmp_path / source), bundle).samples]
        assert len(found) == 20
        for given, expected in zip(found, own, strict=True):
            results = [server([Received(device(x).payload.data)]).results[0] for x in (given, expected)]
            np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x0": np.zeros((3, 1, 8, 8)), "x1": np.zeros((2, 2))}, "x1 has 2 rows, x0 3"),
        ({"x0": np.zeros((3, 1, 8, 8)), "x1": np.array(["a", "b", "c"])}, "x1 is <U1"),
        ({"x": np.zeros((3, 1, 8, 8))}, "the network takes 2 inputs, 1 are given"),
        (
            {"x0": np.zeros((3, 2)), "x1": np.zeros((3, 1, 8, 8))},
            r"float64 of shape \(2,\) is given, the network takes",
        ),
    ],
)
def test_inputs_that_do_not_fit(run, tmp_path, arrays, message):
    bundle = run[1]("RC-float32-tcp")
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(DataError, match=message):
        [
            prepared(sample.x, bundle.manifest.input)
            for sample in open_source(str(tmp_path / "mine.npz"), bundle).samples
        ]
    for source in ("-", "camera:0", str(tmp_path)):
        with pytest.raises(DataError, match=r"takes 2 inputs|does not take images|not installed|no images"):
            open_source(source, bundle)
