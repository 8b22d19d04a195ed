"""Other people's checkpoints, one repository a file: trees of plain data -> weights and settings of this zoo.

A module here has its `REPOSITORY`, what it can `read` in a few words (`FORMAT`), and

    read(tree, *, wanted) -> Foreign | None     None where the keys are not its own; a ValueError where they are, and
                                                something does not fit this zoo's networks.

Nothing here builds a network or runs what a file says: `zoo.formats.pickles` has how files are read.
"""

from importlib import import_module
from typing import Any, NamedTuple

from torch import Tensor

from zoo.formats.pickles import Stand
from zoo.text import printable, shortened

MODULES = (
    "rosinality",
    "nvlabs",
    "junyanz",
    "examples_dcgan",
    "lornatang",
    "leftthomas",
    "basicsr",
)  # asked in this order


class Foreign(NamedTuple):
    """What a stranger's file is, in this zoo's words.

    Args:
        repository: "owner/name" of the code that wrote it.
        variant: the choice of `model=`.
        settings: what a user would type, by name: {"data.image_size": 32, "model.w_dim": 16}.
        weights: by the names of the variant's state dict, "G.convs.0.weight"; what has no part in it is absent.
        notes: what was passed over or found out, a sentence each.
    """

    repository: str
    variant: str
    settings: dict[str, Any]
    weights: dict[str, Tensor]
    notes: list[str]


def recognise(tree: Any, *, wanted: str | None = None) -> Foreign:
    """A file's content as weights of a variant.

    Args:
        tree: what `zoo.formats.pickles.read` gave.
        wanted: the variant that the user named; None: whichever the keys tell.

    Raises:
        ValueError: no format is like it, with what was found and what is known; or it is of a format, and does not fit.
    """
    modules = [import_module(f"zoo.formats.{name}") for name in MODULES]
    for module in modules:
        foreign = module.read(tree, wanted=wanted)
        if foreign is None:
            continue
        if wanted not in (None, foreign.variant):
            raise ValueError(
                f"these are weights of {foreign.repository}, which are this zoo's {foreign.variant}, not {wanted}: "
                f"say --as {foreign.variant}, or leave it out"
            )
        return foreign
    known = "; ".join(f"{module.REPOSITORY} ({module.FORMAT})" for module in modules)
    raise ValueError(f"no known format: {_found(tree)}. Known are {known}")


def _found(tree: Any) -> str:
    """What a file has in it, in a few words, for someone who knows what it should have."""
    if isinstance(tree, Stand):
        return f"it holds an object of {shortened(printable(tree.name))}"
    if not isinstance(tree, dict):
        return f"it holds a {type(tree).__name__}"
    if not tree:
        return "it is empty"
    parts = [repr(key) for key in list(tree)[:6]]
    inner = next(((key, value) for key, value in tree.items() if isinstance(value, dict) and value), None)
    within = f", and in {shortened(ascii(inner[0]))} {', '.join(map(ascii, list(inner[1])[:4]))}" if inner else ""
    return shortened(printable(f"its first keys are {', '.join(parts)}{within}"), length=400)
