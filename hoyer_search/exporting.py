"""Artefacts in the formats of other programs, each checked against the artefact."""

import importlib.util
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from hoyer_search import files, models
from hoyer_search.compression.artifact import read_artifact
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.folding import fold_norms
from hoyer_search.compression.weights import apply_weights, load_weights, storable
from hoyer_search.errors import InputError, ShrinkError, StorageError

Format = Literal["torch-export", "onnx", "masked"]
SUFFIXES: dict[Format, str] = {"torch-export": ".pt2", "onnx": ".onnx", "masked": ".safetensors"}
TOLERANCE = 1e-4  # of the largest output: other kernels round differently in float32
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export_artifact(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    kind: Format,
    factory: str | None = None,
) -> dict[str, Any]:
    """Writes an artefact's network to one file of another format, and checks that file.

    ``torch-export`` is a program that ``torch.export.load`` reads, its BatchNorms folded into
    convolutions, and ``onnx`` one for ONNX runtimes, which fold by themselves; both are of the
    shrunk network and for batches of any size. ``masked`` holds the weights
    of the full-size network, zeros included, as safetensors: they load into the user's own,
    unchanged class.

    Args:
        folder: The artefact.
        output: The new file, with the suffix of its format (``SUFFIXES``).
        kind: The format.
        factory: Model factory of a network that is not built in; a file may not name code to run.

    Returns:
        ``file, format, bytes``, and ``difference``: the largest between the outputs of what was
        written, read again, and those of the artefact, relative to the largest output, on random
        inputs in batches of one and three (``masked``: in float64).

    Raises:
        ArtifactError: The artefact is damaged or needs a factory.
        InputError: The format's packages are missing, or the network cannot be exported so.
        StorageError: The file exists, has another suffix, or cannot be written.
        ShrinkError: What was written gives other outputs; nothing is kept of it.
    """
    target = Path(output)
    if target.exists():
        raise StorageError(f"{target} exists: give a new file")
    if target.suffix != SUFFIXES[kind]:
        raise StorageError(f"a file of format {kind} must end in {SUFFIXES[kind]}, got {target}")
    files.check_output(target)
    if kind == "onnx":
        _require_onnx()
    shape = read_artifact(folder).architecture.input_shape
    shrunk = models.load_artifact(folder, factory=factory)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / f"model{target.suffix}"
        if kind == "masked":
            masked = models.load_masked(folder, factory=factory)
            difference = _write_masked(masked, shrunk, shape, path)
        else:
            write = _write_program if kind == "torch-export" else _write_onnx
            run = write(shrunk, shape, path)
            difference = _difference(shrunk, run, shape, kind)
        content = path.read_bytes()
    try:
        files.write_bytes(target, content)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error}") from error
    return {
        "file": str(target),
        "format": kind,
        "bytes": len(content),
        "difference": difference,
    }


def _write_masked(masked: nn.Module, shrunk: nn.Module, shape: list[int], path: Path) -> float:
    safetensors.torch.save_file(storable(masked.state_dict()), path)
    apply_weights(masked, load_weights(path))
    return exactness(masked, shrunk, shape)


def _write_program(model: nn.Module, shape: list[int], path: Path) -> Callable[[Tensor], Tensor]:
    torch.export.save(_program(fold_norms(model), shape), path)
    loaded: Callable[[Tensor], Tensor] = torch.export.load(path).module()
    return loaded


def _write_onnx(model: nn.Module, shape: list[int], path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    torch.onnx.export(
        _program(model, shape),
        f=path,
        input_names=["input"],
        output_names=["output"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["output"], {"input": inputs.numpy()})[0])

    return run


def _program(model: nn.Module, shape: list[int]) -> torch.export.ExportedProgram:
    """Returns the network as a program for batches of any size.

    Raises:
        InputError: torch.export cannot trace it so.
    """
    example = torch.zeros((2, *shape))  # a batch of one would be taken for a constant
    try:
        return torch.export.export(
            model, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
        )
    except Exception as error:  # torch.export raises whatever forward() raises on its tracers
        reason = str(error).strip().partition("\n")[0][:300]
        raise InputError(
            f"the network's forward() must be exportable for any batch size, but torch.export "
            f"raised {type(error).__name__}: {reason}. Export it as masked, or rewrite forward()"
        ) from error


@torch.no_grad()
def _difference(
    model: nn.Module, run: Callable[[Tensor], Tensor], shape: list[int], kind: Format
) -> float:
    """Returns the largest difference relative to the largest output.

    Raises:
        ShrinkError: It is more than ``TOLERANCE``.
    """
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch in (1, 3):
        inputs = torch.randn((batch, *shape), generator=generator)
        expected, found = model(inputs), run(inputs)
        largest = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
        difference = float((found - expected).abs().max() / largest)
        if not difference <= TOLERANCE:  # NaN is no match either
            raise ShrinkError(
                f"a file of format {kind} must give the artefact's outputs within {TOLERANCE:g} of "
                f"the largest, but they differ by {difference:g}. Report the network's forward()"
            )
        worst = max(worst, difference)
    return worst


def _require_onnx() -> None:
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"format onnx needs the packages {', '.join(ONNX_PACKAGES)}; without: "
            f"{', '.join(missing)}. Install them: pip install 'hoyer-search[export]'"
        )
