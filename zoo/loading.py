"""A trained model by what it is called, wherever it comes from."""

import os
from typing import Any

from zoo.machine import check_device
from zoo.weights import names


def load(run: str | os.PathLike[str], *, device: Any = "cpu") -> Any:
    """The trained model of a run, of weights or of an exported file, in evaluation mode.

        zoo.load("dcgan-mnist5k").sample(16)   # [16, 1, 32, 32] in [0, 1]

    Args:
        run: a run's folder, a checkpoint, a weights folder, hf:USER/NAME[@REVISION], a published name (`zoo list`), or
            the .onnx file of `zoo export`.
        device: cpu, cuda, cuda:1 or mps.

    Raises:
        ValueError: if there is none, or it can't be read, or is not of a variant of this zoo, or its weights do not fit
            that.
    """
    check_device(device)
    place = names.find(run)
    if place.suffix.lower() == ".onnx":
        from zoo.use import exported

        return exported.load(place, device=device)
    from zoo.run import checkpoint

    return checkpoint.load(place, device=device)
