"""The ResNets for 32x32 images of He, Zhang, Ren and Sun (2016), Section 4.2.

Source: https://arxiv.org/abs/1512.03385. Three stages of n blocks with 16, 32 and 64 filters, hence
6 n + 2 layers. Where a stage changes the width its shortcut is a 1x1 convolution with
normalization (the paper's option B) as in torchvision's ResNets: the zero padding of its option A
has fixed widths, so that no channel of the residual streams could be removed.
"""

from torch import Tensor, nn

from hoyer_search.models.classes import check_num_classes

WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns features of shape (N, outputs, H / stride, W / stride)."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        features: Tensor = self.relu(y + self.shortcut(x))
        return features


class SmallResNet(nn.Module):
    """A ResNet of 6 n + 2 layers."""

    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        stages, inputs = [], WIDTHS[0]
        for stage, outputs in enumerate(WIDTHS):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(BasicBlock(inputs, outputs, stride))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits of shape (N, classes) of images of shape (N, 3, 32, 32)."""
        x = self.blocks(self.relu(self.bn(self.conv(images))))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def resnet20(num_classes: int = 10) -> SmallResNet:
    """Returns a ResNet-20 with fresh weights (0.27 M), for images of shape (3, 32, 32)."""
    return SmallResNet(3, check_num_classes(num_classes))


def resnet32(num_classes: int = 10) -> SmallResNet:
    """Returns a ResNet-32 with fresh weights (0.47 M), for images of shape (3, 32, 32)."""
    return SmallResNet(5, check_num_classes(num_classes))


def resnet56(num_classes: int = 10) -> SmallResNet:
    """Returns a ResNet-56 with fresh weights (0.86 M), for images of shape (3, 32, 32)."""
    return SmallResNet(9, check_num_classes(num_classes))
