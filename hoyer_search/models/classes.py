"""The one argument of the built-in networks for images of any classes."""

MOST_CLASSES = 100_000


def check_num_classes(num_classes: int) -> int:
    """Returns the number of classes, checked: an artefact may ask for any.

    Raises:
        ValueError: It is no integer from 1 to ``MOST_CLASSES``.
    """
    if type(num_classes) is not int or not 1 <= num_classes <= MOST_CLASSES:
        raise ValueError(
            f"num_classes must be an integer from 1 to {MOST_CLASSES:,}, got {num_classes!r}"
        )
    return num_classes
