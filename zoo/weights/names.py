"""What RUN means, everywhere: a run's folder, a checkpoint, a weights folder, a name.

outputs/dcgan-mnist5k/2026-01-31_12-00-00   a run: its best checkpoint
model.ckpt                                  a checkpoint
horses/                                     a weights folder, see `zoo.weights.folder`
hf:USER/NAME, hf:USER/NAME@REVISION         a weights folder on the hub
dcgan-mnist5k                               published weights, which come with this package
dcgan.onnx                                  what `zoo export` wrote
"""

import difflib
import os
from pathlib import Path

from zoo.text import printable, shortened
from zoo.weights import folder

PUBLISHED = Path(__file__).parents[1] / "published"
HUB = "hf:"


def published() -> dict[str, Path]:
    """The folders of the published weights, by name."""
    return {path.name: path for path in sorted(PUBLISHED.glob("*")) if folder.is_one(path)}


def find(run: str | os.PathLike[str]) -> Path:
    """The file or weights folder that `run` means; of the hub it is fetched.

    Raises:
        ValueError: if there is none, naming where it was looked for, and the nearest names.
    """
    name = os.fspath(run)
    if name.startswith(HUB):
        from zoo.weights import hub

        return hub.fetch(name)
    shown = printable(shortened(name, length=200))
    if "\0" in name:
        raise ValueError(f"no checkpoint in {shown}, which is no path")
    path = Path(name).expanduser()
    if folder.is_one(path):
        return path
    for candidate in (path, path / "checkpoints" / "best.ckpt", path / "checkpoints" / "last.ckpt"):
        if candidate.is_file():
            return candidate
    known = published()
    if name in known:
        return known[name]
    if path.is_dir():
        raise ValueError(
            f"no checkpoint in {path}: give a run's folder with checkpoints/best.ckpt or last.ckpt, a weights folder "
            f"with {folder.CONFIG} and {folder.TENSORS}, or a .ckpt file"
        )
    if os.path.lexists(path):
        raise ValueError(f"{path} is no file: give a run's folder, a weights folder or a checkpoint")
    near = difflib.get_close_matches(name.lower(), known, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"published are {', '.join(known) or 'none'}"
    raise ValueError(
        f"no checkpoint in {shown}, which is no run's folder, no file and no published name: {hint} (zoo list)"
    )


def file_of(place: Path) -> Path:
    """The file that holds the numbers of what `find` has found."""
    return place / folder.TENSORS if place.is_dir() else place
