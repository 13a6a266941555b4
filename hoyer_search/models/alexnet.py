"""AlexNet with the grouped convolutions that the paper's Table 8 counts."""

from torch import Tensor, nn

from hoyer_search.models.classes import check_num_classes


class AlexNet(nn.Module):
    """The network of Krizhevsky, Sutskever and Hinton (2012): 60,954,656 weights without biases.

    ``conv2``, ``conv4`` and ``conv5`` have two groups, as its two GPUs had. Its local response
    normalization is left out, as in torchvision's: it mixes neighbouring channels, so that no
    channel beside it could be removed exactly.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, kernel_size=11, stride=4, padding=2)
        self.conv2 = nn.Conv2d(96, 256, kernel_size=5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, kernel_size=3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, kernel_size=3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, kernel_size=3, padding=1, groups=2)
        self.fc1 = nn.Linear(256 * 6 * 6, 4096)
        self.fc2 = nn.Linear(4096, 4096)
        self.fc3 = nn.Linear(4096, num_classes)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2)
        self.resize = nn.AdaptiveAvgPool2d(6)  # for images of other sizes; does nothing at 224
        self.dropout = nn.Dropout()

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits of shape (N, classes) of images of shape (N, 3, 224, 224).

        Height and width may differ from 224, from 63 on.
        """
        x = self.pool(self.relu(self.conv1(images)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.relu(self.conv3(x))
        x = self.relu(self.conv4(x))
        x = self.resize(self.pool(self.relu(self.conv5(x)))).flatten(1)
        x = self.relu(self.fc1(self.dropout(x)))
        x = self.relu(self.fc2(self.dropout(x)))
        logits: Tensor = self.fc3(x)
        return logits


def alexnet(num_classes: int = 1000) -> AlexNet:
    """Returns an AlexNet with fresh weights, for images of shape (3, 224, 224)."""
    return AlexNet(check_num_classes(num_classes))
