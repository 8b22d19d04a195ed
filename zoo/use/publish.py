"""A trained model as a weights folder: what others need of a run, and nothing else of it."""

import re
from collections.abc import Mapping
from typing import Any

from zoo.weights.folder import Weights

KEPT = ("data", "metrics", "seed")  # of a run's settings: what a trained model is used by
PLACE = re.compile(r"[/\\~]|^[A-Za-z]:")  # a text with one of these may name a folder of whoever trained


def weights_of(model: Any, about: Mapping[str, Any], *, critic: bool = False) -> Weights:
    """What others need of a trained model: its networks as `GAN.best` has them, and the settings that they are used by.

    The averages take the place of the networks, so that a model of these weights has none (ema_half_life None).

    Args:
        model: of `zoo.load`.
        about: what the card says, as data.
        critic: whether the critic's networks come along, for whoever trains on.
    """
    networks = dict(model.deployed())
    if critic:
        names = {module: name for name, module in model.named_children()}
        networks |= {names[network]: network for network in next(iter(model.players().values()))}
    tensors = {f"{part}.{name}": t for part, network in networks.items() for name, t in network.state_dict().items()}
    return Weights(
        variant=f"{type(model).__module__}.{type(model).__qualname__}",
        hyperparameters=dict(model.hparams) | {"ema_half_life": None},
        tensors=tensors,
        images=model.images,
        config=portable(model.config),
        about=dict(about),
    )


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that a trained model is used by, without the places of whoever trained it."""

    def without_places(settings: Any) -> Any:
        if isinstance(settings, Mapping):
            kept = {key: without_places(value) for key, value in settings.items()}
            return {key: value for key, value in kept.items() if not (isinstance(value, str) and PLACE.search(value))}
        return settings

    return {part: without_places(config[part]) for part in KEPT if part in config}
