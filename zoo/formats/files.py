"""Which files a user means by FILE ...: one checkpoint, several that belong together, or a run's folder of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.formats import pickles

SUFFIXES = (".pth", ".pt", ".pkl", ".ckpt", ".bin", ".safetensors")
MOST = 16  # files at a time


def read(paths: Sequence[Path]) -> tuple[Any, list[Path]]:
    """What was read, for `recognise`, and of which files: of one its content; of several each one's, by its name
    without the suffix.

    Raises:
        ValueError: for a folder without weights, too many files, two of one name, and those that can't be read.
    """
    files = [file for path in paths for file in (newest(path) if path.is_dir() else [path])]
    if len(files) > MOST:
        raise ValueError(f"{paths[0]}: {len(files)} files of weights are more than a model has: name those of one")
    if len(files) == 1:
        return pickles.read(files[0]), files
    if twice := next((file for k, file in enumerate(files) if file.stem in [other.stem for other in files[:k]]), None):
        raise ValueError(f"{twice}: two files have the name {twice.stem}, which tells networks apart: name each once")
    return {file.stem: pickles.read(file) for file in files}, files


def newest(folder: Path) -> list[Path]:
    """A folder's files of weights; where their names differ only in a number, the one of the largest, or of "latest":
    latest_net_G_A.pth, not 195_net_G_A.pth; netG_epoch_24.pth, not netG_epoch_9.pth."""
    chosen: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            kind = re.sub(r"latest|\d+", "#", path.name)
            chosen[kind] = max(chosen.get(kind, path), path, key=lambda file: age(file.stem))
    if not chosen:
        raise ValueError(f"{folder} has no files of weights ({', '.join(SUFFIXES)}) in it")
    return sorted(chosen.values())


def age(name: str) -> list[float]:
    """The numbers in a name, for comparison; "latest" is later than any."""
    return [float("inf") if part == "latest" else float(part) for part in re.findall(r"latest|\d+", name)]
