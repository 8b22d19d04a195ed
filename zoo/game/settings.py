"""The settings of the game that all variants share, each with its default: `DCGAN(width=32, ..., **game)`.

conf/game.yaml has the same defaults for the command line. A variant's own YAML sets what its paper does.
"""

from typing import Annotated, Any, TypedDict, get_args, get_type_hints


class Game(TypedDict, total=False):
    """Name, type and default; what it means. A player is a key of the variant's `players()`."""

    loss: Annotated[str, "non_saturating"]  # the adversarial objective, a name in zoo/game/losses.py
    lr: Annotated[dict[str, float], {"D": 0.0002, "G": 0.0002}]  # Adam's learning rate of each player
    betas: Annotated[list[float], [0.5, 0.999]]  # Adam's
    clip_norm: Annotated[float | None, None]  # the largest norm of a player's gradient in a turn; None: any
    decay_start: Annotated[int | str | None, None]  # images from which on rates fall linearly; half of decay_end; None
    decay_end: Annotated[int | None, None]  # images at which they are 0
    ema_half_life: Annotated[float | None, 5_000.0]  # of the generators' averages, in images; None: no average
    n_critic: Annotated[int, 1]  # turns of the first player, D, for each turn of another
    skip_d_above: Annotated[float | None, None]  # D skips its turn while its accuracy, in [0, 1], is above this
    regularizer: Annotated[dict[str, Any] | None, None]  # gradient penalties, see `zoo.game.regularizers.Regularizer`
    augment: Annotated[dict[str, Any] | None, None]  # of what D sees, see `zoo.game.augment.Augment`


def defaults() -> Game:
    """Every setting's default."""
    hints = get_type_hints(Game, include_extras=True)
    return {name: get_args(hint)[1] for name, hint in hints.items()}  # type: ignore[return-value]
