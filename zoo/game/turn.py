"""What happens in a player's turn, and what a variant may not forget in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from zoo.game.augment import Augment
from zoo.game.regularizers import Regularizer


class Minimize(Protocol):
    """Minimise the sum of the named terms, each a scalar, with respect to the player whose turn it is."""

    def __call__(self, **terms: Tensor) -> None: ...


@dataclass
class Turn:
    """What has happened in a player's turn."""

    player: str
    is_critic: bool
    moved: bool = False
    adversarial: bool = False  # whether the player's objective depends on what D makes of images
    penalties: frozenset[str] | None = None  # the names of those that were asked for
    skipped: bool | None = None  # None: not decided yet
    judgements: dict[str, dict[str, Tensor]] = field(default_factory=dict)  # by discriminator
    terms: dict[str, Tensor] = field(default_factory=dict)  # of the objective, scalars without gradient
    norm: Tensor | None = None  # of the gradient; None where the player made no step, here and below
    lost: Tensor | None = None  # float32: 1 where this turn, or one before it, was not finite

    def take(self, terms: Mapping[str, Tensor]) -> None:
        """The terms that the player minimises.

        Raises:
            ValueError: if there are none, or some already; if penalties that were computed are not among them.
        """
        if self.moved or not terms:
            raise ValueError(f"a turn of {self.player} minimises once, and at least one term")
        if lost := (self.penalties or frozenset()) - terms.keys():
            raise ValueError(f"{', '.join(sorted(lost))} not minimised: minimize(..., **self.penalties(...))")
        self.moved, self.adversarial = True, "adversarial" in terms
        self.terms = {name: term.detach() for name, term in terms.items()}

    def accuracy(self) -> Tensor:
        """The critic's mean accuracy on real and on fake images, a scalar; a ValueError where it was not judged."""
        names = ("accuracy_real", "accuracy_fake")
        accuracies = [judgement[name] for judgement in self.judgements.values() for name in names]
        if not accuracies:
            raise ValueError(f"{self.player} was not judged: real, fake = self.judge(self.D(real), self.D(fake))")
        return torch.stack(accuracies).mean()

    def check(self, variant: str, T: Augment | None, regularizer: Regularizer | None, *, paired: bool) -> None:
        """At its end; T, if it changes anything, has counted the turn's calls. `paired`: G's objective needs reals.

        Raises:
            ValueError: naming what the variant forgot.
        """
        whose = f"{variant}'s turn of {self.player}"
        if not self.moved:
            raise ValueError(f"{whose} minimised nothing: call minimize(adversarial=...) in it")
        if self.is_critic and not self.judgements:
            raise ValueError(f"{whose} was not judged: call self.judge(real_logit, fake_logit) in it")
        shown = 2 if self.is_critic or paired else 1  # batches of images
        if T is not None and (self.is_critic or self.adversarial) and T.calls < shown:
            raise ValueError(
                f"{variant} shows D images without augmentation in {self.player}'s turn: wrap real and fake ones in "
                "self.T(...), or train it with augment=none"
            )
        if self.is_critic and regularizer is not None and regularizer.active and self.penalties is None:
            raise ValueError(
                f"{whose} has no gradient penalties: add **self.penalties(self.D, real, fake) to its terms, or train "
                "it with regularizer=none"
            )
