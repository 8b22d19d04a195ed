"""DCGAN: Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", ICLR 2016, arXiv:1511.06434.

Symbols
    G      generator, z -> x: fractionally-strided convolutions (Figure 1)
    D      discriminator, x -> logit: strided convolutions
    z      latent, N(0, I)

Faithful: section 3's guidelines (strides instead of pooling, BatchNorm in both except in G's output and D's input, no
          hidden dense layers, ReLU and tanh in G, LeakyReLU 0.2 in D) and section 4's training (Adam 2e-4 with
          beta1 = 0.5, weights from N(0, 0.02)). At 64 pixels and width 128, G has Figure 1's 1024-512-256-128 channels.
Departs:  z is normal instead of uniform; width and image size are free. G's result is an exponential moving average,
          G_ema. Both turns use the same z (one forward of G serves both), and real and fake images are separate
          batches for D's BatchNorm, as in the authors' code.
"""

from typing import Literal, Unpack

from torch import Tensor, nn

from zoo.batch import LabelledImages
from zoo.game.abilities import FromLatents
from zoo.game.gan import GAN
from zoo.game.settings import Count, Game, ImageSize, sides
from zoo.networks.convolutional import Discriminator, Generator
from zoo.networks.initialisation import init_weights, spectral_normalize


class DCGAN(GAN, FromLatents):
    """Two convolutional networks against each other.

    Args:
        image_size: its shorter side a power of two from 16 to 256, its longer one a multiple of a quarter of that.
        channels: of the images; any.
        latent_dim: the dimension of z.
        width, max_width: channels next to the image, doubled at each halving of the resolution, and the most of them.
        discriminator_norm: what D's layers are normalised by.
        discriminator_width: D's channels next to the image; None: `width`.
    """

    def __init__(
        self, *, image_size: ImageSize, channels: Count, latent_dim: Count, width: Count, max_width: Count,
        discriminator_norm: Literal["batch", "spectral", "none"], discriminator_width: Count | None = None,
        **game: Unpack[Game],
    ) -> None:  # fmt: skip
        super().__init__(**game)
        if discriminator_norm == "batch":
            self.refuse_gradient_penalty("model.discriminator_norm=none or spectral")
        self.latent_dim, shape = latent_dim, (channels, *sides(image_size))
        self.G = Generator(latent_dim=latent_dim, shape=shape, base=width, most=max_width)
        if discriminator_width is not None and discriminator_width > max_width:
            raise ValueError(
                f"model.discriminator_width={discriminator_width} is more than model.max_width={max_width}: lower one "
                "or raise the other"
            )
        of_D = width if discriminator_width is None else discriminator_width
        self.D = Discriminator(shape=shape, base=of_D, most=max_width, norm=discriminator_norm)
        init_weights(self.G, self.D)
        if discriminator_norm == "spectral":
            spectral_normalize(self.D)
        self.G_ema = self.average(self.G)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def varies(self) -> str:
        return ""

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        """Goodfellow et al. 2014, Algorithm 1 with k = n_critic; the paper's: 1, and the non-saturating objective."""
        x = batch.image  # [N, C, H, W]
        fake = self.G(self.latent(len(x)))

        # Ascend log D(x) + log(1 - D(G(z))).
        with self.turn("D") as minimize:
            real, generated = self.T(x), self.T(fake.detach())
            logits = self.judge(self.D(real), self.D(generated))  # [N] each
            minimize(adversarial=self.loss.discriminator(*logits), **self.penalties(self.D, real, generated))

        # Ascend log D(G(z)), after each n_critic turns of D.
        if self.due("G"):
            with self.turn("G") as minimize:
                real_logit = self.D(self.T(x)) if self.loss.paired else None
                minimize(adversarial=self.loss.generator(self.D(self.T(fake)), real_logit))

    def critique(self, batch: LabelledImages) -> dict[str, Tensor]:
        return {"D": self.D(batch.image)}
