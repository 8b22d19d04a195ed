"""Adversarial objectives on logits: D's line above G's line.

Each takes D's logits on real and on fake images, of shape [N], [N, 1] or, from a PatchGAN, [N, 1, h, w], and returns a
scalar to minimise: the mean over images and patches. With sigmoid(logit) as the probability that an image is real,
softplus(-logit) = -log sigmoid(logit)  and  softplus(logit) = -log(1 - sigmoid(logit)).

    loss = losses.named("hinge")
    loss.discriminator(self.D(x), self.D(fake.detach()))
    loss.generator(self.D(fake), self.D(x) if loss.paired else None)
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import relu, softplus


@dataclass(frozen=True)
class Objective:
    """What the players minimise, and where D is undecided."""

    D: Callable[[Tensor, Tensor], Tensor]  # of real and fake logits
    G: Callable[[Tensor, Tensor], Tensor]  # of fake and, where it is paired, real logits
    paired: bool = False  # whether G's objective needs the logits of the real images too
    boundary: float | None = 0.0  # the logit at which D is undecided; None: the midpoint of its mean logits
    needs: tuple[str, ...] = ()  # the gradient penalties that hold D, unless its weights are normalised spectrally
    bounded: bool = True  # whether D's objective has a bound without them

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """D's objective, a scalar."""
        return self.D(real, fake)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """G's objective, a scalar. `real` is used by paired objectives alone."""
        if self.paired and real is None:
            raise ValueError("real=None: a paired objective needs D's logits on real images in G's turn: self.D(x)")
        return self.G(fake, real)  # type: ignore[arg-type]

    def judgement(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """What D thinks, for the log: its accuracy on real and on fake images in [0, 1], and its mean logits.

        Accuracy is the share of real logits above the boundary, and of fake ones below it; a logit that is on it counts
        half. Near 1 on both, D has won; near 0.5 on both, it can't tell: that holds for every objective.
        """
        real, fake = real.detach().float(), fake.detach().float()
        boundary = (real.mean() + fake.mean()) / 2 if self.boundary is None else self.boundary
        return {
            "accuracy_real": (1 + (real - boundary).sign().mean()) / 2,
            "accuracy_fake": (1 - (fake - boundary).sign().mean()) / 2,
            "logit_real": real.mean(),
            "logit_fake": fake.mean(),
        }


OBJECTIVES: dict[str, Objective] = {
    # Goodfellow et al. 2014 (arXiv:1406.2661), Algorithm 1, with G's objective of section 3: "Rather than training G to
    # minimize log(1 - D(G(z))) we can train G to maximize log D(G(z))": minimax's fixed point, with gradients that do
    # not vanish while D wins. Where D can't tell, 2 log 2 and log 2.
    "non_saturating": Objective(
        D=lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),  # -E[log D(x)] - E[log(1 - D(G(z)))]
        G=lambda fake, _: softplus(-fake).mean(),  # -E[log D(G(z))]
    ),
    # Goodfellow et al. 2014, eq. (1): min_G max_D E[log D(x)] + E[log(1 - D(G(z)))]. The game that the theory is about,
    # for teaching: while D wins, G's gradient vanishes. Where D can't tell, 2 log 2 and -log 2.
    "minimax": Objective(
        D=lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),  # -E[log D(x)] - E[log(1 - D(G(z)))]
        G=lambda fake, _: -softplus(fake).mean(),  # E[log(1 - D(G(z)))]
    ),
    # Mao et al. 2017 (arXiv:1611.04076), eq. (9): labels a = 0 for fake and b = 1 for real, G's target c = 1. D's
    # output is the label itself, not a logit: no sigmoid anywhere. Where D can't tell, 1/4 and 1/8.
    "least_squares": Objective(
        D=lambda real, fake: (real - 1).square().mean() / 2 + fake.square().mean() / 2,
        G=lambda fake, _: (fake - 1).square().mean() / 2,
        boundary=0.5,
    ),
    # Lim and Ye 2017 (arXiv:1705.02894); Miyato et al. 2018 (arXiv:1802.05957), eq. (16) and (17). D gains nothing from
    # logits beyond the margin of 1 on the right side. Where D can't tell, 2 and 0.
    "hinge": Objective(
        D=lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(),
        G=lambda fake, _: -fake.mean(),
    ),
    # Arjovsky et al. 2017 (arXiv:1701.07875), eq. (2) and Algorithm 1; D must be held Lipschitz: by a gradient penalty
    # (Gulrajani et al. 2017, arXiv:1704.00028), since weight clipping is left out. -D's objective estimates the
    # Wasserstein distance, up to the Lipschitz constant. D's level is arbitrary. Where D can't tell, D's is 0.
    "wasserstein": Objective(
        D=lambda real, fake: fake.mean() - real.mean(),
        G=lambda fake, _: -fake.mean(),
        boundary=None,
        needs=("gradient_penalty",),
        bounded=False,
    ),
    # RpGAN, Jolicoeur-Martineau 2018 (arXiv:1807.00734), as in R3GAN, Huang et al. 2024 (arXiv:2501.05441), eq. (2):
    # f(D(G(z)) - D(x)) with the logistic f. Real and fake images meet in pairs, row by row, so that no mode of the data
    # can be dropped for free. Each player's line is the non-saturating one, as in R3GAN's code. Train it with R1 + R2,
    # as there. D's level is arbitrary. Where D can't tell, log 2 for both.
    "relativistic_pairing": Objective(
        D=lambda real, fake: softplus(fake - real).mean(),
        G=lambda fake, real: softplus(real - fake).mean(),
        paired=True,
        boundary=None,
        needs=("r1", "r2"),
    ),
}


def named(loss: str) -> Objective:
    """The objective of that name, a row of conf/loss.yaml; a ValueError for an unknown one, with the valid names."""
    if loss not in OBJECTIVES:
        raise ValueError(f"loss={loss!r} must be one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[loss]
