"""GAN zoo: generative adversarial networks in PyTorch Lightning, one paper a file."""

from typing import Any


def __getattr__(name: str) -> Any:  # imported late: torch takes seconds
    if name == "load":
        from zoo.loading import load

        return load
    if name == "train":
        from zoo.run.python import train

        return train
    if name == "__version__":
        from importlib.metadata import version

        return version("gan-zoo")
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")
