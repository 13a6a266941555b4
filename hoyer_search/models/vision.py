"""torchvision's convolutional networks by name.

torchvision is imported when a network is built, so that the others need only torch.
"""

from collections.abc import Callable

from torch import nn

from hoyer_search.models.classes import check_num_classes

VISION_MODELS = (
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
)
"""Every other network of torchvision can be named ``torchvision.models:NAME``."""


def vision_factory(name: str) -> Callable[..., nn.Module]:
    """Returns the factory of one of ``VISION_MODELS``.

    It takes ``num_classes`` (1000 by default) and returns a network with fresh weights, for images
    of shape (3, 224, 224). No other argument of torchvision's is taken: an artefact names its
    arguments, and loading one must not download anything.
    """

    def build(num_classes: int = 1000) -> nn.Module:
        import torchvision

        num_classes = check_num_classes(num_classes)
        model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
        return model

    build.__name__ = build.__qualname__ = name
    return build
