"""The two LeNets of the paper's Tables 1 and 2, as its authors' code builds them.

Outputs are logits; the authors' log-softmax belongs to the loss here.
Source: https://github.com/yanghr/DeepHoyer, mnist/MLP and mnist/CNN.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class LeNet300100(nn.Module):
    """784-300-100-10 perceptron: 266,200 weights without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits of shape (N, 10) of images of shape (N, 1, 28, 28) or (N, 784)."""
        x = torch.flatten(images, 1)
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits


class LeNet5(nn.Module):
    """Caffe's LeNet-5: 430,500 weights without biases.

    Caffe has a ReLU after ``fc1`` only; the authors of DeepHoyer have one after each convolution
    too, and their code is followed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, kernel_size=5)
        self.conv2 = nn.Conv2d(20, 50, kernel_size=5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits of shape (N, 10) of images of shape (N, 1, 28, 28)."""
        x = functional.max_pool2d(torch.relu(self.conv1(images)), kernel_size=2)
        x = functional.max_pool2d(torch.relu(self.conv2(x)), kernel_size=2)
        x = torch.relu(self.fc1(torch.flatten(x, 1)))
        logits: Tensor = self.fc2(x)
        return logits


def lenet_300_100() -> LeNet300100:
    """Returns a LeNet-300-100 with fresh weights, for images of shape (1, 28, 28)."""
    return LeNet300100()


def lenet_5() -> LeNet5:
    """Returns a LeNet-5 with fresh weights, for images of shape (1, 28, 28)."""
    return LeNet5()
