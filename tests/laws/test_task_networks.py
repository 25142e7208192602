"""tail(head(x)) equals model(x) at every cut of networks that segment, detect and transcribe, in their default
configuration. Heads run cut by cut, so that the whole takes one pass and the tails."""

from __future__ import annotations

import pytest
import torch
from other_packages import package
from task_networks import FeaturePyramid, UNet, Yolo
from torch import nn
from torch.utils import _pytree as pytree

import splitimpera as sei
from splitimpera.graph.running import evaluating
from splitimpera.partition.cutter import segment


def image(n, side=32):
    return {"x": torch.rand(n, 3, side, side)}


def pixels(n, side=32):
    return {"pixel_values": torch.rand(n, 3, side, side)}


def small(config, **more):
    """A configuration of a transformer with a layer, two heads and 16 channels on either side."""
    sides = {
        f"{side}_{key}": value
        for side in ("encoder", "decoder")
        for key, value in {"layers": 1, "attention_heads": 2, "ffn_dim": 16}.items()
    }
    return config(d_model=16, **sides, **more)


def detr():
    lib = package("transformers")
    backbone = lib.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    config = small(
        lib.DetrConfig,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        num_queries=5,
        num_labels=4,
    )
    return lib.DetrForObjectDetection(config)


def yolos():
    lib = package("transformers")
    config = lib.YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[32, 32],
        patch_size=8,
        num_detection_tokens=5,
        num_labels=4,
    )
    return lib.YolosForObjectDetection(config)


def segformer():
    lib = package("transformers")
    config = lib.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[4, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        num_labels=4,
    )
    return lib.SegformerForSemanticSegmentation(config)


def whisper():
    lib = package("transformers")
    config = small(
        lib.WhisperConfig,
        vocab_size=50,
        num_mel_bins=8,
        max_source_positions=10,
        max_target_positions=12,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    return lib.WhisperForConditionalGeneration(config)


def sound_and_text(n):
    return {"input_features": torch.randn(n, 8, 20), "decoder_input_ids": torch.randint(0, 50, (n, 4))}


def deeplabv3():
    models = package("torchvision").models
    return models.segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)


class WithoutNms(nn.Module):
    """torchvision's detector up to what its NMS is given: backbone and head, no resizing, no boxes from anchors."""

    def __init__(self, detector):
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, x):
        return self.head(list(self.backbone(x).values()))


def ssdlite():
    detection = package("torchvision").models.detection
    return WithoutNms(detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4))


NETWORKS = {
    "U-Net": (UNet, image),
    "feature pyramid": (FeaturePyramid, image),
    "YOLO": (Yolo, image),
    "DETR": (detr, pixels),
    "YOLOS": (yolos, pixels),
    "SegFormer": (segformer, lambda n: pixels(n, 64)),
    "Whisper": (whisper, sound_and_text),
}
LARGE = {"deeplabv3": (deeplabv3, lambda n: image(n, 64)), "ssdlite": (ssdlite, image)}


def check_law(model, inputs, by_name):
    """The law with batch 3, traced on 2 samples; and the model, which somebody has called on as many, is as it was."""
    two, three = ({name: value[:n] for name, value in inputs.items()} for n in (2, 3))
    said = []
    with torch.no_grad():
        model.eval()(**two)
        model.train()
        before = [dict(vars(module)) for module in model.modules()]
        graph = sei.trace(model, two if by_name else tuple(two.values()), say=said.append)
        assert all(vars(module).items() == found.items() for module, found in zip(model.modules(), before, strict=True))
    with torch.no_grad(), evaluating(model):
        expected = model(**three)
        leaves = [leaf for leaf in pytree.tree_leaves(expected) if isinstance(leaf, torch.Tensor)]
        head = sei.split(graph, 0).head
        crossing, before = head(**three) if by_name else head(*three.values()), graph.cuts[0]
        for cut in graph.cuts:
            crossing = segment(graph, before, cut)(*crossing)  # only the layers since the last cut
            made = sei.split(graph, cut).tail(crossing)
            assert type(made) is type(expected)
            torch.testing.assert_close(pytree.tree_leaves(made), leaves, rtol=1e-4, atol=1e-4)
            before = cut
    return graph, said


QUICK = ("U-Net", "feature pyramid")
EVERY = (*NETWORKS, *LARGE)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in EVERY]
)
def test_tail_of_head_equals_model_at_every_cut(name):
    torch.manual_seed(0)
    make, inputs = (NETWORKS | LARGE)[name]
    graph, said = check_law(make(), inputs(3), by_name=name in ("Whisper", "DETR"))
    assert graph.apart
    assert any(not cut.single for cut in graph.cuts)
    if name != "Whisper":
        assert not said
        return
    # its cache is no result of this call
    assert said == ["Left out of the network's result, for they are no tensors: EncoderDecoderCache."]
    assert len(graph.cuts[-1].tensors) == 2  # logits, and what the encoder made
    assert {spec.dtype for spec in graph.cuts[0].tensors} == {"float32", "int64"}


@pytest.mark.slow
def test_yolov8n_of_ultralytics_as_its_file_says(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    package("ultralytics")
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel("yolov8n.yaml", verbose=False)
    assert not model.model[-1].export
    check_law(model, image(3), by_name=False)
    assert not model.model[-1].export
