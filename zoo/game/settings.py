"""The settings of the game that all variants share, each with its default: `DCGAN(width=32, ..., **game)`.

conf/game.yaml has the same defaults for the command line. A variant's own YAML sets what its paper does.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypedDict, get_type_hints

from zoo.ranges import (
    Blocks,
    Count,
    ImageSize,
    Layers,
    Natural,
    Part,
    Positive,
    Share,
    Weight,
    Within,
    fitted,
    refuse_immeasurable,
)

__all__ = ["Blocks", "Count", "Game", "ImageSize", "Layers", "Natural", "Part", "Positive", "Share", "Weight", "Within"]

Rate = Annotated[float, Within(lambda lr: lr >= 0, "must not be negative; 0 keeps the player as it is")]
Beta = Annotated[float, Within(lambda beta: 0 <= beta < 1, "must be in [0, 1)")]
Betas = Annotated[list[Beta], Within(lambda betas: len(betas) == 2, "must be two numbers, such as [0.5,0.999]")]
Accuracy = Annotated[float, Within(lambda x: 0 < x < 1, "must be an accuracy between 0 and 1; null never skips a turn")]


class Game(TypedDict, total=False):
    """Name, type and default; what it means. A player is a key of the variant's `players()`."""

    loss: Annotated[str, "non_saturating"]  # the adversarial objective, a name in zoo/game/losses.py
    lr: Annotated[dict[str, Rate], {"D": 0.0002, "G": 0.0002}]  # Adam's learning rate of each player
    betas: Annotated[Betas, [0.5, 0.999]]  # Adam's
    clip_norm: Annotated[Positive | None, None]  # the largest norm of a player's gradient in a turn; None: any
    decay_start: Annotated[Natural | Literal["half"] | None, None]  # images from which rates fall linearly; "half" of
    decay_end: Annotated[Count | None, None]  # decay_end, the images at which they are 0; None: never
    ema_half_life: Annotated[Weight | None, 5_000.0]  # of the generators' averages, in images; None: no average
    n_critic: Annotated[Count, 1]  # turns of the first player, D, for each turn of another
    skip_d_above: Annotated[Accuracy | None, None]  # D skips its turn while its accuracy is above this
    freeze_d: Annotated[Natural, 0]  # layers of D, from the image on, that are held in fine-tuning, see zoo.game.freeze
    regularizer: Annotated[dict[str, Any] | None, None]  # gradient penalties, see `zoo.game.regularizers.Regularizer`
    augment: Annotated[dict[str, Any] | None, None]  # of what D sees, see `zoo.game.augment.Augment`
    burn_in: Annotated[dict[str, Any] | None, None]  # where settings move to, see `zoo.game.schedule.BurnIn`


def defaults() -> Game:
    """Every setting's default."""
    hints = get_type_hints(Game, include_extras=True)
    return {name: copy.deepcopy(hint.__metadata__[-1]) for name, hint in hints.items()}  # type: ignore[return-value]


def completed(game: Game) -> Game:
    """The settings, with the defaults of those that are left out.

    Raises:
        ValueError: naming the one that makes no sense.
        TypeError: for one that is none of the game's.
    """
    complete: Game = defaults()
    for name in game:
        if name not in complete:
            raise TypeError(f"unexpected keyword argument '{name}'")
    complete |= game
    check_annotated(Game, complete)
    decay(complete, 0)  # says what is wrong with it
    return complete


def decay(game: Game, images: int) -> float:
    """The factor on learning rates after so many images: 1 until decay_start, then linearly to 0 at decay_end.

    Raises:
        ValueError: for a decay_start without an end, or that is not before it.
    """
    start, end = game["decay_start"], game["decay_end"]
    if start is None:
        return 1.0
    if end is None:
        raise ValueError(f"model.decay_start={start} needs an end: model.decay_end=, in images")
    if start == "half":
        start = end // 2
    assert isinstance(start, int)
    if start >= end:
        raise ValueError(
            f"model.decay_start={start} must lie before model.decay_end={end}, which is max_images unless it is set"
        )
    if images <= start:
        return 1.0
    return (end - images) / (end - start) if images < end else 0.0


def sides(image_size: ImageSize) -> tuple[int, int]:
    """(height, width)."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return height, width


def conditioned_on(classes: list[str] | None, conditional: bool) -> list[str] | None:
    """The classes y of a model that is conditional on request: None, whatever the data have, where it is not, so that
    they are a hyperparameter only where there is a y.

    Raises:
        ValueError: if it is, and the data have no classes.
    """
    if conditional and not classes:
        raise ValueError(
            "these data have no classes to condition on: set model.conditional=false, or use data=mnist5k, mnist, "
            "fashion_mnist, cifar10, or labelled_folder with a subfolder for each class, a dataset.json or a table "
            "of classes, data.labels=FILE (of several columns, data.label_column=NAME)"
        )
    return classes if conditional else None


def check_annotated(owner: Callable[..., Any], values: Mapping[str, Any], group: str = "model") -> None:
    """Hold the settings of a variant, or of a part of the game, to the annotations of its constructor.

    Raises:
        ValueError: "GROUP.NAME=VALUE must be one of A, B, C", or that it is of another kind or out of its range.
    """
    for name, hint in get_type_hints(owner, include_extras=True).items():
        if name in values:
            fitted(f"{group}.{name}", values[name], hint)
    refuse_immeasurable(group, dict(values))
