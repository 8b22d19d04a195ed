"""What a file may say: plain settings. Everything that decides what comes from a file is on this page.

A checkpoint and a run's folder may be a stranger's. Their settings are names and numbers; they can't choose

- what is built: a `_target_` stands where the project's own conf/data and conf/metrics have one, and names what these
  name there; a variant is a class that a module of zoo/model itself defines;
- what is looked up: no interpolation, such as ${oc.env:HOME};
- where is written: the cache and the run's folder, and what lies in them by default, are the user's.
"""

import importlib
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from zoo.ranges import LARGEST
from zoo.run import CONF
from zoo.run.config import flatten
from zoo.text import shortened

if TYPE_CHECKING:  # torch and Lightning take seconds: a command line that names a run should not
    from zoo.game.gan import GAN

VARIANTS = Path(__file__).parents[1] / "model"
BUILT = ("data", "metrics")  # the parts of a checkpoint's settings that a command builds something of
NODES, DEPTH = 1_000_000, 64  # more is no checkpoint of ours, and references can make a small file endless
USERS = ("cache_dir", "run_dir", "trainer.default_root_dir")


def shown(value: Any) -> str:
    """A value from a file, for a sentence: on one line, short, and without a terminal's control characters."""
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number of many digits"
    text = ascii(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return shortened(text)


def nodes(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every node of nested dicts, lists and tuples with its dotted name, the root first.

    Raises:
        ValueError: "NAME ..." where a key is neither text nor a number, or for a tree that has no end.
    """
    stack, count = [(name, tree, 0)], 0
    while stack:
        name, node, depth = stack.pop()
        count += 1
        if depth > DEPTH or count > NODES:
            raise ValueError(f"{name.split('.')[0]} is nested or repeated without an end")
        yield name, node
        children: Any = ()
        if isinstance(node, Mapping):
            if odd := [key for key in node if not isinstance(key, str | int)]:
                raise ValueError(f"{name} has a key that is {shown(odd[0])}")
            children = node.items()
        elif isinstance(node, list | tuple):
            children = enumerate(node)
        stack += [(f"{name}.{key}" if name else str(key), child, depth + 1) for key, child in children]


def check_plain(tree: Any, name: str) -> None:
    """Hold a tree to dicts, lists, tuples, text, numbers and null.

    Raises:
        ValueError: naming the node that is anything else.
    """
    for key, node in nodes(tree, name):
        if not isinstance(node, Mapping | list | tuple | str | int | float | None):
            raise ValueError(f"{shown(key)[1:-1]} is {shown(node)}, where plain settings belong")
        if isinstance(node, int) and abs(node) >= LARGEST:
            raise ValueError(f"{shown(key)[1:-1]} is too large a number")


def check_inert(tree: Any, name: str, *, targets: Collection[str] = ()) -> None:
    """Hold settings to what Hydra neither builds nor looks up: no `_target_`, no interpolation.

    Args:
        tree: plain settings.
        name: theirs.
        targets: names of nodes that may have a `_target_`, whatever it says: see `check_targets`.

    Raises:
        ValueError: naming the node, as the end of "FILE is refused: ...".
    """
    for key, node in nodes(tree, name):
        outer, _, leaf = key.rpartition(".")
        if re.fullmatch(r"_.*_", leaf) and not (leaf == "_target_" and outer in targets):
            raise ValueError(f"{shown(key)[1:-1]}={shown(node)} could run any code")
        if isinstance(node, str) and "${" in node:
            raise ValueError(f"{shown(key)[1:-1]}={shown(node)} would be looked up elsewhere; plain values are taken")


@cache
def targets() -> dict[str, set[str]]:
    """What this project's conf/data and conf/metrics build, by the name of the node: {"metrics.extractor": {...}}."""
    found: dict[str, set[str]] = {}
    for group in BUILT:
        for path in (CONF / group).glob("*.yaml"):
            settings: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
            for key, value in flatten(settings, f"{group}.").items():
                if key.endswith("._target_"):
                    found.setdefault(key.removesuffix("._target_"), set()).add(value)
    return found


def settings(config: Any) -> Mapping[str, Any]:
    """A checkpoint's settings, of which those that something is built of are inert.

    Raises:
        ValueError: naming what is missing, damaged, or not for a file to say.
    """
    check_plain(config, "config")
    for part in BUILT:
        if not isinstance(config, Mapping) or not isinstance(config.get(part), Mapping):
            raise ValueError(f"its settings have no {part}")
        check_inert(config[part], part, targets=targets())
    if not isinstance(config.get("seed"), int):
        raise ValueError("its settings have no seed")
    return config


def check_targets(config: Mapping[str, Any]) -> None:
    """Hold what is built of a checkpoint's `settings` to what this project's own conf builds there.

    Raises:
        ValueError: naming the `_target_` that is another, or the node that has none.
    """
    flat = {key: value for part in BUILT for key, value in flatten({part: config[part]}).items()}
    for name, known in targets().items():
        if not flat.get(name):  # metrics=none are empty
            continue
        target = flat.get(f"{name}._target_")
        if not isinstance(target, str) or target not in known:
            raise ValueError(
                f"{name}._target_={shown(target)} is nothing that conf/{name.split('.')[0]} builds there, and could "
                "run any code; if it is your own, put its YAML into that folder"
            )
    if not flat["data"]:
        raise ValueError("its settings have no data")


def variant(name: Any) -> "type[GAN]":
    """The variant of that dotted name: a class that a module of zoo/model itself defines.

    Raises:
        ValueError: if it is anything else.
    """
    from zoo.game.gan import GAN

    parts = re.fullmatch(r"zoo\.model\.([a-z]\w*)\.([A-Za-z]\w*)", name, re.ASCII) if isinstance(name, str) else None
    if parts and (VARIANTS / f"{parts[1]}.py").is_file():
        module = importlib.import_module(f"zoo.model.{parts[1]}")
        found = vars(module).get(parts[2])
        if isinstance(found, type) and issubclass(found, GAN) and found.__module__ == module.__name__:
            return found
    raise ValueError(f"it is of {shown(name)}, which is no variant of this zoo")


def of_the_user(composed: DictConfig) -> set[str]:
    """The names of settings that say where to write: in composed defaults they lie in the user's own folders."""
    flat = flatten(OmegaConf.to_container(composed, resolve=False))  # type: ignore[arg-type]
    return {*USERS, *(key for key, value in flat.items() if re.match(r"\$\{(cache|run)_dir\}", str(value)))}


def is_the_users(key: str, value: Any, users: Collection[str]) -> bool:
    """Whether a setting is the user's own to say, among the names of `of_the_user`.

    A set of images that lies at another place than the cache is read from there; to a new place none is downloaded.
    """
    return key in users and not (key == "data.root" and _is_there(value))


def _is_there(path: Any) -> bool:
    try:
        place = Path(str(path)).expanduser()
        return place.is_file() or (place.is_dir() and any(place.iterdir()))
    except (OSError, RuntimeError, ValueError):  # no permission, no such user, a null byte
        return False
