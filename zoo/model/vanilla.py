"""Vanilla GAN: Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, arXiv:1406.2661.

Symbols
    G      generator, z -> x
    D      discriminator, x -> logit; the paper's D(x) is its sigmoid
    z      latent, N(0, I)

Faithful: Algorithm 1 with one D step (k = 1) before each G step, and section 3's non-saturating objective for G.
Departs:  BatchNorm and LeakyReLU in G and LeakyReLU in D instead of ReLU, maxout and dropout, Adam instead of SGD with
          momentum, z normal instead of uniform, and tanh outputs; the sizes 256-512-1024 are those of most later
          implementations. The convolutional discriminator is an option that is not in the paper.
          G's result is an exponential moving average, G_ema. Both turns use the same z (one forward of G serves both).
"""

import math
from typing import Annotated, Literal, Unpack

from torch import Tensor, nn

from zoo.batch import LabelledImages
from zoo.game.abilities import FromLatents
from zoo.game.gan import GAN
from zoo.game.settings import Count, Game, ImageSize, Within, sides
from zoo.networks.convolutional import small_discriminator

Widths = Annotated[list[Count], Within(lambda widths: len(widths) > 0, "must be one width or more")]


def dense_generator(*, latent_dim: int, hidden: list[int], shape: tuple[int, ...]) -> nn.Sequential:
    """z [N, latent_dim] -> image [N, *shape] in [-1, 1]."""
    sizes = [latent_dim, *hidden]
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(fan_in, fan_out, bias=False), nn.BatchNorm1d(fan_out), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], math.prod(shape)), nn.Tanh(), nn.Unflatten(1, shape))


def dense_discriminator(*, hidden: list[int], shape: tuple[int, ...]) -> nn.Sequential:
    """image [N, *shape] -> logit [N, 1]."""
    sizes = [math.prod(shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))


class VanillaGAN(GAN, FromLatents):
    """Two multilayer perceptrons against each other.

    Args:
        image_size, channels: of the images; any.
        latent_dim: the dimension of z.
        hidden: widths of G's hidden layers; a dense D has them in reverse, without the smallest.
        discriminator: of dense layers as the paper's, or `small_discriminator`.
    """

    def __init__(
        self, *, image_size: ImageSize, channels: Count, latent_dim: Count, hidden: Widths,
        discriminator: Literal["dense", "conv"], **game: Unpack[Game],
    ) -> None:  # fmt: skip
        super().__init__(**game)
        self.latent_dim, shape = latent_dim, (channels, *sides(image_size))
        self.G = dense_generator(latent_dim=latent_dim, hidden=hidden, shape=shape)
        dense = discriminator == "dense"
        self.D = dense_discriminator(hidden=hidden[:0:-1], shape=shape) if dense else small_discriminator(*shape)
        self.G_ema = self.average(self.G)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def varies(self) -> str:
        return ""

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        """Algorithm 1, k = n_critic."""
        x = batch.image  # [N, C, H, W]
        fake = self.G(self.latent(len(x)))

        # Ascend log D(x) + log(1 - D(G(z))).
        with self.turn("D") as minimize:
            real, generated = self.T(x), self.T(fake.detach())
            logits = self.judge(self.D(real), self.D(generated))  # [N, 1] each
            minimize(adversarial=self.loss.discriminator(*logits), **self.penalties(self.D, real, generated))

        # Ascend log D(G(z)), after each n_critic turns of D.
        if self.due("G"):
            with self.turn("G") as minimize:
                real_logit = self.D(self.T(x)) if self.loss.paired else None
                minimize(adversarial=self.loss.generator(self.D(self.T(fake)), real_logit))

    def critique(self, batch: LabelledImages) -> dict[str, Tensor]:
        return {"D": self.D(batch.image)}
