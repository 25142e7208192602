"""Well-known networks, defined here so that no other package is needed; weights are random unless a file gives them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from splitimpera.core.registry import Registry
from splitimpera.models.mobilenet import MobileNetV2
from splitimpera.models.resnet import CifarResNet, ResNet50
from splitimpera.models.vgg import VGG, VGG11, VGG16

REFERENCE: Registry[Callable[[], nn.Module]] = Registry("network")

REFERENCE.register("vgg11")(lambda: VGG(VGG11))
REFERENCE.register("vgg11_bn")(lambda: VGG(VGG11, batch_norm=True))
REFERENCE.register("vgg16")(lambda: VGG(VGG16))
REFERENCE.register("vgg16_bn")(lambda: VGG(VGG16, batch_norm=True))
REFERENCE.register("resnet20")(lambda: CifarResNet(3))
REFERENCE.register("resnet50")(lambda: ResNet50())
REFERENCE.register("mobilenet_v2")(lambda: MobileNetV2())
