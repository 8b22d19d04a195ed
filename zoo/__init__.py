"""GAN zoo: generative adversarial networks in PyTorch Lightning, one paper a file."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "load":  # imported late: torch takes seconds
        from zoo.run.checkpoint import load

        return load
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")
