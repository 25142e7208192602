"""VGG (Simonyan and Zisserman, ICLR 2015), with torchvision's parameter names: published weights load unchanged."""

from __future__ import annotations

from torch import Tensor, nn

# channels in units of the first layer's, "M" a pool of stride 2
VGG11 = (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M")
VGG16 = (1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M")


class VGG(nn.Module):
    """Convolutions and pools (`features`), then three linear layers (`classifier`).

    Args:
        plan: one of the tuples above.
        width: channels of the first convolution (64 in the paper).
        hidden: units of the two hidden linear layers (4096 in the paper).
        pooled: side of the maps that the classifier sees (7 in the paper).
        batch_norm: Put BatchNorm after every convolution.

    `forward` takes float (N, in_channels, H, W) with H and W at least 32 and returns logits (N, num_classes).
    """

    def __init__(
        self,
        plan: tuple[int | str, ...] = VGG16,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        hidden: int = 4096,
        pooled: int = 7,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for step in plan:
            if isinstance(step, str):
                layers.append(nn.MaxPool2d(2, 2))
                continue
            layers.append(nn.Conv2d(channels, step * width, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(step * width))
            layers.append(nn.ReLU(inplace=True))
            channels = step * width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((pooled, pooled))
        self.classifier = nn.Sequential(
            nn.Linear(channels * pooled * pooled, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits
