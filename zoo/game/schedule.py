"""Burn-in: settings that begin at one value and reach another along a cosine, while the game finds its feet.

At first two players that know nothing need large steps, a strong hold on D, a short memory of their gradients, and no
average of generators that are nothing yet; later the opposite. Huang et al. 2024 (arXiv:2501.05441) move all of them
together: after n of N images a setting that goes from a to b is

    a + (b - a) (1 - cos(pi min(n / N, 1))) / 2

Where a setting begins is what the game has it at: `lr`, `betas`, `ema_half_life`, `regularizer`, `augment`.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Annotated, Any

from zoo.game.settings import Beta, Count, Share, Weight, Within, check_annotated

Factor = Annotated[float, Within(lambda x: x >= 0, "must not be negative; 1 changes nothing")]


class BurnIn:
    """Where settings end, and when.

    Args:
        images: shown to the discriminator until then, over all ranks.
        lr: the factor on every learning rate at the end, beside that of a decay; 1 changes nothing.
        beta2: Adam's second decay rate at the end; None: it stays.
        ema_half_life: of the generators' averages at the end, in images; None: it stays. Averages that burn in have
            no other warm-up.
        penalties: the factor on the gradient penalties' weights at the end; 1 changes nothing.
        augment: the probability of the augmentation at the end; None: it stays.

    Raises:
        ValueError: for a value outside its range.
    """

    def __init__(
        self, *, images: Count, lr: Factor = 1.0, beta2: Beta | None = None, ema_half_life: Weight | None = None,
        penalties: Factor = 1.0, augment: Share | None = None,
    ) -> None:  # fmt: skip
        check_annotated(BurnIn.__init__, locals(), "model.burn_in")
        self.images, self.lr, self.beta2, self.ema_half_life = images, lr, beta2, ema_half_life
        self.penalties, self.augment = penalties, augment

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None) -> "BurnIn | None":
        """That of `model.burn_in`; None where there is none.

        Raises:
            ValueError: for names that it does not have, or without `images`; and what the constructor raises.
        """
        if not settings:
            return None
        known = list(inspect.signature(cls).parameters)
        if odd := [name for name in settings if name not in known]:
            raise ValueError(f"there is no setting model.burn_in.{odd[0]}: it has {', '.join(known)}")
        if settings.get("images") is None:
            raise ValueError("model.burn_in needs its length in images: model.burn_in.images=100_000, say")
        return cls(**settings)

    def between(self, start: float, end: float, images: int) -> float:
        """The value after so many images of what goes from `start` to `end`."""
        share = min(images / self.images, 1.0)
        return start + (end - start) * (1 - math.cos(math.pi * share)) / 2 if share < 1 else end
