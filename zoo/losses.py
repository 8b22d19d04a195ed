"""Adversarial objectives on logits: D's line above G's line. Every function takes logits [N, ...], returns a scalar.

With D = sigmoid(logit):  softplus(-logit) = -log D  and  softplus(logit) = -log(1 - D).
"""

from torch import Tensor
from torch.nn.functional import softplus


class NonSaturating:
    """Goodfellow et al. 2014 (arXiv:1406.2661), Algorithm 1, with the generator's objective of section 3.

    "Rather than training G to minimize log(1 - D(G(z))) we can train G to maximize log D(G(z))": the same fixed point,
    with gradients that do not vanish while D wins.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-E[log D(x)] - E[log(1 - D(G(z)))]; 2 log 2 where D can't tell."""
        return softplus(-real).mean() + softplus(fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """-E[log D(G(z))]; log 2 where D can't tell."""
        return softplus(-fake).mean()


def judgement(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """What D thinks, for the books: its accuracy on real and on fake images in [0, 1], and its mean logits.

    Accuracy is the share of real images with logit > 0, and of fake ones with logit < 0; near 1 on both, D has won,
    near 0.5 on both, it can't tell.
    """
    real, fake = real.detach(), fake.detach()
    return {
        "accuracy_real": (real > 0).float().mean(),
        "accuracy_fake": (fake < 0).float().mean(),
        "logit_real": real.mean(),
        "logit_fake": fake.mean(),
    }
