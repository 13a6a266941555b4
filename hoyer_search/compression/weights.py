"""Trained weights from files, without unpickling anything but tensors."""

import os
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hoyer_search.errors import ArtifactError

_COUNTER = "num_batches_tracked"
_TYPES = {
    torch.float64, torch.float32, torch.bfloat16, torch.float16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
}  # fmt: skip


def load_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Returns trained weights by parameter name, on the CPU.

    Args:
        path: A ``.safetensors`` file, or a state dict saved by ``torch.save``, alone or under the
            key ``state_dict``. Nothing is unpickled but tensors.

    Raises:
        ArtifactError: The file is missing, needs code to be loaded, holds no tensors by name, or
            holds a NaN or an infinity.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        try:
            return parse_tensors(path.read_bytes(), path)
        except OSError as error:
            raise ArtifactError(
                f"{path} cannot be read: {error}. Correct model.weights, or --weights"
            ) from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read: {error}. Correct model.weights, or --weights"
        ) from error
    except Exception as error:  # torch.load raises whatever a malformed file makes it raise
        reason = str(error).partition("\n")[0][:200]
        raise ArtifactError(
            f"{path} must be a safetensors file, or a state dict that loads without running code; "
            f"loading raised {type(error).__name__}: {reason}. Save it "
            "by safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        ) from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    named = isinstance(loaded, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    )
    if not named or not loaded:
        raise ArtifactError(
            f"{path} must hold tensors by parameter name, got {type(loaded).__name__}. "
            "Save model.state_dict()"
        )
    _check_values(loaded, path)
    return dict(loaded)


def apply_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies weights into a network of exactly the same names and shapes, in place.

    Files older than torch 0.4.1 lack the counters of BatchNorm, which are then zero.

    Raises:
        ArtifactError: A name is missing or unknown, or a shape or kind of number differs; nothing
            was copied.
    """
    expected = model.state_dict()
    counters = {n: torch.zeros_like(t) for n, t in expected.items() if n.endswith(_COUNTER)}
    weights = counters | dict(weights)
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is not in the network" for name in weights if name not in expected]
    problems += [
        f"{name} has shape {tuple(weights[name].shape)} where the network has {tuple(t.shape)}"
        for name, t in expected.items()
        if name in weights and weights[name].shape != t.shape
    ]
    problems += [
        f"{name} has type {weights[name].dtype} where the network has {t.dtype}"
        for name, t in expected.items()
        if name in weights and weights[name].is_floating_point() != t.is_floating_point()
    ]
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ArtifactError(
            f"weights must fit the network's names and shapes, but {'; '.join(problems[:5])}{more}."
            " Give the weights of this network, or the factory that they belong to"
        )
    model.load_state_dict(weights)


def storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors as safetensors takes them: contiguous, on the CPU, no two of one memory.

    Those that share it, as the weights of a layer under two names, become copies.
    """
    stored: dict[str, Tensor] = {}
    known: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        stored[name] = tensor.clone() if memory in known else tensor
        known.add(memory)
    return stored


def parse_tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a safetensors file's bytes; ``path`` is for messages.

    Raises:
        ArtifactError: It is no safetensors file, is damaged, or holds a NaN or an infinity.
    """
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"{path} must be a safetensors file; a pickle or a damaged file is never loaded "
            f"({error}). Give an undamaged file"
        ) from error
    _check_values(tensors, path)
    return tensors


def _check_values(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPES:
            raise ArtifactError(
                f"{path} must hold plain numbers, but {name!r} is of type {tensor.dtype}. "
                "Save the weights as float32"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ArtifactError(
                f"{path} must hold finite weights, but {name!r} has a NaN or an infinity. "
                "Give weights of a network that trained without diverging"
            )
