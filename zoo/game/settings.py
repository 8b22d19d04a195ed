"""The settings of the game that all variants share, each with its default: `DCGAN(width=32, ..., **game)`.

conf/game.yaml has the same defaults for the command line. A variant's own YAML sets what its paper does.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, TypedDict, Union, get_args, get_origin, get_type_hints


class Game(TypedDict, total=False):
    """Name, type and default; what it means. A player is a key of the variant's `players()`."""

    loss: Annotated[str, "non_saturating"]  # the adversarial objective, a name in zoo/game/losses.py
    lr: Annotated[dict[str, float], {"D": 0.0002, "G": 0.0002}]  # Adam's learning rate of each player
    betas: Annotated[list[float], [0.5, 0.999]]  # Adam's
    clip_norm: Annotated[float | None, None]  # the largest norm of a player's gradient in a turn; None: any
    decay_start: Annotated[int | str | None, None]  # images from which rates fall linearly; "half" of decay_end; never
    decay_end: Annotated[int | None, None]  # images at which they are 0
    ema_half_life: Annotated[float | None, 5_000.0]  # of the generators' averages, in images; None: no average
    n_critic: Annotated[int, 1]  # turns of the first player, D, for each turn of another
    skip_d_above: Annotated[float | None, None]  # D skips its turn while its accuracy, in [0, 1], is above this
    regularizer: Annotated[dict[str, Any] | None, None]  # gradient penalties, see `zoo.game.regularizers.Regularizer`
    augment: Annotated[dict[str, Any] | None, None]  # of what D sees, see `zoo.game.augment.Augment`


def defaults() -> Game:
    """Every setting's default."""
    hints = get_type_hints(Game, include_extras=True)
    return {name: copy.deepcopy(get_args(hint)[1]) for name, hint in hints.items()}  # type: ignore[return-value]


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
    if not isinstance(complete["lr"], Mapping):
        raise ValueError(f"model.lr={complete['lr']} must be a rate for each player, such as {{D: 0.0002, G: 0.0002}}")
    for player, lr in complete["lr"].items():
        if not isinstance(lr, int | float) or not 0 <= lr < math.inf:
            raise ValueError(f"model.lr.{player}={lr} must be a finite number from 0 on; 0 keeps the player as it is")
    betas, n_critic, skip_d_above = complete["betas"], complete["n_critic"], complete["skip_d_above"]
    if not isinstance(betas, Sequence) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"model.betas={betas} must be two numbers in [0, 1), such as [0.5,0.999]")
    if not isinstance(n_critic, int) or n_critic < 1:
        raise ValueError(f"model.n_critic={n_critic} must be 1 or more: turns of D for each turn of G")
    if skip_d_above is not None and not 0 <= skip_d_above <= 1:
        raise ValueError(f"model.skip_d_above={skip_d_above} must be an accuracy in [0, 1]; null never skips a turn")
    for name, least in {"clip_norm": math.ulp(0.0), "ema_half_life": 0, "decay_end": 0}.items():
        value = complete[name]  # type: ignore[literal-required]
        if value is not None and (not isinstance(value, int | float) or not least <= value < math.inf):
            words = "positive" if least else "0 or more"
            raise ValueError(f"model.{name}={value} must be a finite number, {words}; null is without")
    decay(complete, 0)  # says what is wrong with it
    return complete


def decay(game: Game, images: int) -> float:
    """The factor on learning rates after so many images: 1 until decay_start, then linearly to 0 at decay_end.

    Raises:
        ValueError: for a decay_start that is no number of images, or without an end.
    """
    start, end = game["decay_start"], game["decay_end"]
    if start is None:
        return 1.0
    if end is None:
        raise ValueError(f"model.decay_start={start} needs an end: model.decay_end=, in images")
    if isinstance(start, str):
        if start != "half":
            raise ValueError(f"model.decay_start={start} must be a number of images, half (of decay_end) or null")
        start = end // 2
    if start < 0:
        raise ValueError(f"model.decay_start={start} must not be negative: images from which on the rates fall")
    if images <= start:
        return 1.0
    return (end - images) / (end - start) if images < end else 0.0


# What a variant's own settings may be, as the annotations of its constructor ------------------------------------------


@dataclass(frozen=True)
class Within:
    """A range of numbers, in an `Annotated`: whether a number is in it, and the sentence's end where it is not."""

    admits: Callable[[float], bool]
    words: str


Count = Annotated[int, Within(lambda n: n >= 1, "must be 1 or more")]
Natural = Annotated[int, Within(lambda n: n >= 0, "must not be negative; 0 is none")]
Weight = Annotated[float, Within(lambda x: x >= 0, "must not be negative; 0 switches it off")]
Positive = Annotated[float, Within(lambda x: x > 0, "must be positive")]
Share = Annotated[float, Within(lambda x: 0 <= x <= 1, "must be in [0, 1]")]
ImageSize = int | list[int]  # pixels: one number, or [height, width]


def sides(image_size: ImageSize) -> tuple[int, int]:
    """(height, width)."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return height, width


def check_annotated(constructor: Callable[..., None], values: Mapping[str, Any]) -> None:
    """Hold a variant's settings against its constructor's annotations, as far as they are `Literal` or `Within`.

    Raises:
        ValueError: "model.NAME=VALUE must be one of A, B, C", or that it is out of its range.
    """
    for name, hint in get_type_hints(constructor, include_extras=True).items():
        value = values.get(name)
        for option in get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,):
            if value is None:
                continue
            if get_origin(option) is Literal and value not in get_args(option):
                raise ValueError(f"model.{name}={value} must be one of {', '.join(map(str, get_args(option)))}")
            for extra in getattr(option, "__metadata__", ()):
                if isinstance(extra, Within) and not extra.admits(value):
                    raise ValueError(f"model.{name}={value} {extra.words}")
