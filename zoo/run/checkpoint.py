"""Checkpoints: written whole or not at all, found in a run's folder, read without running code.

Nothing here unpickles objects: `torch.load(weights_only=True)` admits tensors, numbers, strings, lists and dicts only.
"""

import importlib
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from zoo.atomic import replacing
from zoo.game.gan import GAN


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to the disk, then renames: a killed process leaves the earlier file intact."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None) -> None:
        """Replace `path` by `checkpoint`, atomically."""
        target = Path(path)
        try:
            with replacing(target) as part, part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError on a full disk
            kept = "the earlier file there is intact" if target.exists() else "there was none before"
            raise OSError(f"{target} could not be written ({error}); {kept}") from error

    def load_checkpoint(self, path: str | os.PathLike, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """A file of plain data, without running code: see `read`."""
        return _load(Path(path))


def find(run: str | os.PathLike) -> Path:
    """The checkpoint that `run` means: itself if it is a file, else a run folder's best or, failing that, last one.

    Raises:
        ValueError: if there is none, naming where it was looked for.
    """
    path = Path(run).expanduser()
    for candidate in (path, path / "checkpoints" / "best.ckpt", path / "checkpoints" / "last.ckpt"):
        if candidate.is_file():
            return candidate
    raise ValueError(
        f"no checkpoint in {path}: give a .ckpt file, or a run's folder with checkpoints/best.ckpt or last.ckpt"
    )


def newest(run: str | os.PathLike) -> Path:
    """The checkpoint to go on from: a file itself, or of a run's folder the one that has seen most images.

    Raises:
        ValueError: if there is none that can be read.
    """
    path = Path(run).expanduser()
    if path.is_file():
        read(path)
        return path
    images, problems = {}, []
    for candidate in (path / "checkpoints" / name for name in ("last.ckpt", "best.ckpt")):
        try:
            if candidate.is_file():
                images[candidate] = read(candidate)["zoo"]["images"]
        except ValueError as error:
            problems.append(str(error))
    if not images:
        raise ValueError("; ".join([f"there is nothing to resume: no checkpoint in {path}/checkpoints", *problems]))
    start = max(images, key=images.__getitem__)
    for problem in problems:
        print(f"{problem}; going on from {start}", flush=True)
    return start


def read(path: str | os.PathLike) -> dict[str, Any]:
    """A checkpoint's content, on the CPU.

    Raises:
        ValueError: if the file is truncated, is no checkpoint of this zoo, or holds objects other than plain data.
    """
    checkpoint = _load(Path(path))
    if not isinstance(checkpoint, dict) or "zoo" not in checkpoint:
        raise ValueError(f"{path} is a torch file but no checkpoint of this zoo{_alternative(Path(path))}")
    return checkpoint


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes make the unpickler raise whatever they happen to spell
        problem = "can't be read: truncated, or not a checkpoint"
        if isinstance(error, pickle.UnpicklingError):
            problem = "is refused: no checkpoint, or it holds more than plain data"
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} {problem} ({why}){_alternative(path)}") from None


def _alternative(path: Path) -> str:
    others = [p for p in (path.with_name("best.ckpt"), path.with_name("last.ckpt")) if p != path and p.is_file()]
    return f"; {others[0]} is another checkpoint of that run" if others else ""


def load(run: str | os.PathLike, *, device: str | torch.device = "cpu") -> GAN:
    """The trained model of a run's folder or checkpoint file, in evaluation mode.

        zoo.load("outputs/dcgan-mnist5k/2026-01-31_12-00-00").sample(16)   # [16, 1, 32, 32] in [0, 1]

    Raises:
        ValueError: if there is no checkpoint, or it can't be read, or is not of a variant of this zoo.
    """
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise ValueError(f"device={device} is no device: use cpu, cuda, cuda:1 or mps") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device}: there is no CUDA device here; use cpu")
    path = find(run)
    checkpoint = read(path)
    module, _, name = checkpoint["zoo"]["variant"].rpartition(".")
    if not module.startswith("zoo.model."):
        raise ValueError(f"{path} is of {module}.{name}, which is no variant of this zoo")
    model: GAN = getattr(importlib.import_module(module), name)(**checkpoint["hyper_parameters"])
    model.load_state_dict(checkpoint["state_dict"])
    model.images, model.config = checkpoint["zoo"]["images"], checkpoint["zoo"]["config"]
    return model.to(device).eval()
