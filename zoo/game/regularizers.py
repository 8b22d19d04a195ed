"""Gradient penalties on the discriminator, which keep it smooth: pure functions, and the weights that a user sets.

D is any callable from images [N, ...] to logits; a conditional model passes a closure, `lambda x: self.D(x, label)`.
Where D gives several logits for an image (PatchGAN, [N, 1, h, w]), its value there is their mean, as in the objectives:
with P patches whose fields overlap little, gamma has to be about P times as large to act alike.

A penalty is computed in float32 whatever the trainer's precision, since in bfloat16 its gradient is off by percents,
and eagerly where D is compiled, since compiled networks can't be differentiated twice. It runs D once more, so what D
updates in training (BatchNorm's statistics, spectral normalisation's vectors) moves once more. The penalties look at
each image alone: a D with BatchNorm mixes them (Gulrajani et al. 2017, section 4, "No critic batch normalization").

With augmentation D sees T(x). at="image", the default, takes the gradient of D(T(x)) with respect to x, through T, as
the codes of StyleGAN2-ADA (training/loss.py) and R3GAN (Trainer.py) do; the draw of T is the adversarial term's, as
R3GAN's, and the gradient penalty's images in between go through that of the real ones. at="augmented" takes it with
respect to T(x), as this project did before there was a choice. Both draw the same random numbers.

Measured, E[||grad||^2] at the augmented image over that at the image, ADA with p = 0.6: 1.03 on real and fake digits
for D of the run with "augmented" below (`python benchmarks/penalties.py RUN`), 0.93 for a D trained without
augmentation (`... RUN --policy ada --p 0.6`), 0.51 for an untrained D on CIFAR-10, whose colours T stretches: no
constant factor on gamma makes the two alike. And `model=stylegan_lite scale=small augment=ada
model.augment.probability=0.6 model.augment.target=null model.augment.flip=false model.augment.quarter_turn=false
model.augment.rotation=10 model.augment.luma_flip=false data.image_size=16 data.batch_size=32 max_images=60_000`, seeds
1, 2 and 3, has fid_mnist 17.1, 20.3 and 18.2 at best with model.regularizer.at=image, 19.2, 17.4 and 24.1 with
augmented: on average no worse, so the default is what the papers' codes have.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from zoo.game.augment import Augment
from zoo.game.settings import Count, Weight, check_annotated

Discriminator = Callable[[Tensor], Tensor]


def zero_centred(D: Discriminator, images: Tensor) -> Tensor:
    """E[||grad D(x)||^2] / 2, a scalar: R1 on real images, R2 on generated ones, of which G is no part.

    Mescheder et al. 2018 (arXiv:1801.04406), eq. (9) and (10). Its weight is the paper's gamma: the term is gamma / 2 *
    E[||grad D(x)||^2]. (The authors' published code leaves out the half, so that its 10 is a gamma of 20 here.)
    """
    return gradient(D, images).square().sum(1).mean() / 2


def gradient_penalty(D: Discriminator, real: Tensor, fake: Tensor, *, generator: torch.Generator) -> Tensor:
    """E[(||grad D(x^)|| - 1)^2], a scalar: WGAN-GP, Gulrajani et al. 2017 (arXiv:1704.00028), eq. (3), two-sided.

    x^ = e x + (1 - e) G(z) with e ~ U[0, 1] for each pair of rows; its weight is the paper's lambda.

    Args:
        generator: of e, on the images' device: each rank's own stream.
    """
    assert real.shape == fake.shape, f"{tuple(real.shape)} real and {tuple(fake.shape)} fake images can't be paired"
    e = torch.rand(len(real), *[1] * (real.dim() - 1), generator=generator, device=real.device)  # [N, 1, 1, 1]
    return (gradient(D, e * real + (1 - e) * fake).norm(dim=1) - 1).square().mean()


def gradient(D: Discriminator, image: Tensor) -> Tensor:
    """The gradient of D at each image, [N, pixels], itself differentiable with respect to D's weights."""
    image = image.detach().to(torch.promote_types(image.dtype, torch.float32)).requires_grad_()
    with torch.autocast(image.device.type, enabled=False), torch.compiler.set_stance("force_eager"):
        value = D(image).reshape(len(image), -1).mean(1)  # [N]
        return torch.autograd.grad(value.sum(), image, create_graph=True)[0].flatten(1)


class Regularizer:
    """The penalties of one discriminator, as terms of its objective.

        minimize(adversarial=..., **self.penalties(self.D, x, fake))

    With every = k the penalties are lazy (Karras et al. 2020, arXiv:1912.04958, section 3.1 and appendix B): computed
    in D's turns 1, 1 + k, 1 + 2k, ... and multiplied by k there, so that their mean over all turns stays. The log
    shows the mean over the turns that computed them: k times the mean over all. StyleGAN2 takes them in the same turns,
    but in a second step of the same optimizer, with Adam's rate and betas corrected for the additional step; here they
    are part of the one step that a turn makes, and nothing needs correction.

    Args:
        r1: gamma of `zero_centred` on real images; 0 is off, here and below.
        r2: gamma of `zero_centred` on generated images.
        gradient_penalty: lambda of `gradient_penalty`.
        every: D's turns from one computation to the next; 1 is each turn.
        at: with respect to what D is differentiated where it sees augmented images T(x): the "image" x, through T, or
            the "augmented" one; see the header.

    Raises:
        ValueError: for a negative weight, `every` below 1, or another word for `at`.
    """

    def __init__(
        self, *, r1: Weight, r2: Weight, gradient_penalty: Weight, every: Count,
        at: Literal["image", "augmented"] = "image",
    ) -> None:  # fmt: skip
        check_annotated(Regularizer.__init__, locals(), "model.regularizer")
        self.r1, self.r2, self.gradient_penalty, self.every, self.at = r1, r2, gradient_penalty, every, at

    @property
    def active(self) -> bool:
        """Whether any penalty has a weight."""
        return bool(self.r1 or self.r2 or self.gradient_penalty)

    @property
    def through(self) -> bool:
        """Whether penalties need to know of which images T made what D saw."""
        return self.active and self.at == "image"

    def __call__(
        self, D: Discriminator, real: Tensor, fake: Tensor, *, turn: int, generator: torch.Generator,
        T: Augment | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """The terms of this turn, by name: weight * every * penalty; none in turns in which they are not due.

        Args:
            real, fake: images [N, ...] as D sees them; no gradient reaches them.
            turn: D's turns so far, this one included: the first is 1.
            generator: this rank's stream of random numbers, on the images' device.
            T: what made them in this turn of the images; None: they are the images.

        Raises:
            ValueError: if they are not as T gave them, and penalties are taken through it.
        """
        if (turn - 1) % self.every:
            return {}
        terms = {}
        if self.r1:
            terms["r1"] = self.r1 * self.every * zero_centred(*self._taken(D, real, T))
        if self.r2:
            terms["r2"] = self.r2 * self.every * zero_centred(*self._taken(D, fake, T))
        if self.gradient_penalty:
            on_real, x = self._taken(D, real, T)
            penalty = gradient_penalty(on_real, x, self._taken(D, fake, T)[1], generator=generator)
            terms["gradient_penalty"] = self.gradient_penalty * self.every * penalty
        return terms

    def _taken(self, D: Discriminator, shown: Tensor, T: Augment | None) -> tuple[Discriminator, Tensor]:
        """What is differentiated, and at which images."""
        if T is None or self.at == "augmented":
            return D, shown
        image, again = T.origin(shown)
        return lambda image: D(again(image)), image
