"""Weights folders on the Hugging Face hub, through `huggingface_hub`."""

from pathlib import Path


def fetch(name: str) -> Path:
    """The folder of hf:USER/NAME or hf:USER/NAME@REVISION, from the hub's cache or downloaded into it."""
    raise ValueError(f"{name}: not yet")
