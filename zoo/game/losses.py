"""Adversarial objectives on logits: D's line above G's line.

Each takes D's logits on real and on fake images, of shape [N], [N, 1] or, from a PatchGAN, [N, 1, h, w], and returns a
scalar to minimise: the mean over images and patches. With sigmoid(logit) as the probability that an image is real,
softplus(-logit) = -log sigmoid(logit)  and  softplus(logit) = -log(1 - sigmoid(logit)).

    loss = losses.named("hinge")
    loss.discriminator(self.D(x), self.D(fake.detach()))
    loss.generator(self.D(fake), self.D(x) if loss.paired else None)
"""

from torch import Tensor
from torch.nn.functional import relu, softplus


class Objective:
    """What the players minimise, and where D is undecided."""

    paired = False  # whether G's objective needs the logits of the real images too
    boundary: float | None = 0.0  # the logit at which D is undecided; None: the midpoint of its mean logits

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """D's objective, a scalar."""
        raise NotImplementedError

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """G's objective, a scalar. `real` is used by paired objectives alone."""
        raise NotImplementedError

    def judgement(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """What D thinks, for the books: its accuracy on real and on fake images in [0, 1], and its mean logits.

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


class Minimax(Objective):
    """Goodfellow et al. 2014 (arXiv:1406.2661), eq. (1): min_G max_D E[log D(x)] + E[log(1 - D(G(z)))].

    The game that the theory is about, for teaching: while D wins, G's gradient vanishes.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-E[log D(x)] - E[log(1 - D(G(z)))]; 2 log 2 where D can't tell."""
        return softplus(-real).mean() + softplus(fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """E[log(1 - D(G(z)))]; -log 2 where D can't tell."""
        return -softplus(fake).mean()


class NonSaturating(Minimax):
    """Goodfellow et al. 2014 (arXiv:1406.2661), Algorithm 1, with the generator's objective of section 3.

    "Rather than training G to minimize log(1 - D(G(z))) we can train G to maximize log D(G(z))": the same fixed point,
    with gradients that do not vanish while D wins.
    """

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """-E[log D(G(z))]; log 2 where D can't tell."""
        return softplus(-fake).mean()


class LeastSquares(Objective):
    """Mao et al. 2017 (arXiv:1611.04076), eq. (9): labels a = 0 for fake and b = 1 for real, G's target c = 1.

    D's output is the label itself, not a logit: no sigmoid anywhere, undecided at 1/2.
    """

    boundary = 0.5

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[(D(x) - 1)^2] / 2 + E[D(G(z))^2] / 2; 1/4 where D can't tell."""
        return (real - 1).square().mean() / 2 + fake.square().mean() / 2

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """E[(D(G(z)) - 1)^2] / 2; 1/8 where D can't tell."""
        return (fake - 1).square().mean() / 2


class Hinge(Objective):
    """Lim and Ye 2017 (arXiv:1705.02894); Miyato et al. 2018 (arXiv:1802.05957), eq. (16) and (17).

    D gains nothing from logits beyond the margin of 1 on the right side.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]; 2 where D can't tell."""
        return relu(1 - real).mean() + relu(1 + fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """-E[D(G(z))]."""
        return -fake.mean()


class Wasserstein(Objective):
    """Arjovsky et al. 2017 (arXiv:1701.07875), eq. (2) and Algorithm 1; D must be held Lipschitz.

    Weight clipping is left out: use a gradient penalty (Gulrajani et al. 2017, arXiv:1704.00028). -D's objective
    estimates the Wasserstein distance, up to the Lipschitz constant. D's level is arbitrary, so D is undecided halfway
    between its mean logits.
    """

    boundary = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[D(G(z))] - E[D(x)]; 0 where D can't tell."""
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """-E[D(G(z))]."""
        return -fake.mean()


class RelativisticPairing(Objective):
    """RpGAN, Jolicoeur-Martineau 2018 (arXiv:1807.00734), as in R3GAN, Huang et al. 2024 (arXiv:2501.05441), eq. (2).

    f(D(G(z)) - D(x)) with the logistic f: real and fake images meet in pairs, row by row, so that no mode of the data
    can be dropped for free. Each player's line is the non-saturating one, as in R3GAN's code. Train it
    with R1 + R2, as there. D's level is arbitrary, so D is undecided halfway between its mean logits.
    """

    paired = True
    boundary = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[log(1 + exp(D(G(z)) - D(x)))]; log 2 where D can't tell."""
        return softplus(fake - real).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """E[log(1 + exp(D(x) - D(G(z))))]; log 2 where D can't tell."""
        if real is None:
            raise ValueError("real=None: a paired objective needs D's logits on real images in G's turn: self.D(x)")
        return softplus(real - fake).mean()


OBJECTIVES: dict[str, type[Objective]] = {
    "non_saturating": NonSaturating,
    "minimax": Minimax,
    "least_squares": LeastSquares,
    "hinge": Hinge,
    "wasserstein": Wasserstein,
    "relativistic_pairing": RelativisticPairing,
}


def named(loss: str) -> Objective:
    """The objective of that name, a row of conf/loss.yaml.

    Raises:
        ValueError: for an unknown name, with the valid ones.
    """
    if loss not in OBJECTIVES:
        raise ValueError(f"loss={loss!r} must be one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[loss]()
