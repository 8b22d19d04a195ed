"""From where to go on after training has diverged: a checkpoint is only as good as what follows it."""

import os
from pathlib import Path

from zoo.run.checkpoint import read


def retreat(folder: Path, *, well: int, interval: int, began: int | None = None) -> tuple[Path | None, int]:
    """The newest good checkpoint of a run that has diverged, and its images; None, 0: it has to begin anew.

    Good is one after which half an interval between checkpoints has gone well; and from which no retry has begun that
    has diverged without getting to another. The newest good one becomes `last.ckpt`; what was there, if it was not
    good, becomes `diverged.ckpt`, which nothing takes up on its own.

    Args:
        folder: of the checkpoints: `last.ckpt`, `previous.ckpt`, which it has replaced, and `best.ckpt`.
        well: images until which training went well.
        interval: images between two checkpoints.
        began: images of the state from which the retry that has diverged began; None: it was the first try.
    """
    last, previous, best = (folder / f"{name}.ckpt" for name in ("last", "previous", "best"))
    images = {}
    for path in (last, previous, best):
        try:
            images[path] = read(path)["zoo"]["images"]
        except ValueError:  # none, or a damaged one
            continue
    good = [path for path in images if images[path] <= well - interval / 2]
    if began is not None and not any(images[path] > began for path in good):
        good = [path for path in good if images[path] < began]
    chosen = max(good, key=images.__getitem__, default=None)
    if chosen != last and last in images:
        os.replace(last, folder / "diverged.ckpt")
    if chosen == previous:
        os.replace(previous, last)
        return last, images[previous]
    reached = images[chosen] if chosen else 0
    if images.get(previous, 0) > reached:
        previous.unlink()
    return chosen, reached
