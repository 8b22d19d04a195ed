"""DCGAN: Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", ICLR 2016, arXiv:1511.06434.

Symbols
    G      generator, z -> x: fractionally-strided convolutions (Figure 1)
    D      discriminator, x -> logit: strided convolutions
    z      latent, N(0, I)
    T      augmentation of all that D sees; the identity by default

Faithful: section 3's guidelines (strides instead of pooling, BatchNorm in both except in G's output and D's input, no
          hidden dense layers, ReLU and tanh in G, LeakyReLU 0.2 in D) and section 4's training (Adam 2e-4 with
          beta1 = 0.5, weights from N(0, 0.02)). At 64 pixels and width 128, G has Figure 1's 1024-512-256-128 channels.
Departs:  z is normal instead of uniform; width and image size are free. G's result is an exponential moving average,
          G_ema. Both turns use the same z (one forward of G serves both), and real and fake images are separate
          batches for D's BatchNorm, as in the authors' code.
"""

from typing import Unpack

from torch import Tensor, nn

from zoo.batch import LabelledImages
from zoo.game.abilities import FromLatents
from zoo.game.gan import GAN
from zoo.game.settings import Game
from zoo.networks.convolutional import Discriminator, Generator
from zoo.networks.initialisation import init_weights, spectral_normalize


class DCGAN(GAN, FromLatents):
    """Two convolutional networks against each other.

    Args:
        image_size: pixels, one number or [height, width]: the shorter side a power of two from 16 to 256, the longer
            one a multiple of a quarter of it.
        channels: of the images; any.
        latent_dim: the dimension of z.
        width: channels next to the image, doubled at each halving of the resolution.
        max_width: the most channels of a layer.
        discriminator_norm: "batch", "spectral" or "none": what D's layers are normalised by.
        game: see `zoo.game.settings.Game`.

    Raises:
        ValueError: for an image size that the network can't make, with the nearest that it can.
    """

    def __init__(
        self, *, image_size: int | list[int], channels: int, latent_dim: int, width: int, max_width: int,
        discriminator_norm: str, **game: Unpack[Game],
    ) -> None:  # fmt: skip
        super().__init__(**game)
        h, w = (image_size, image_size) if isinstance(image_size, int) else image_size
        if discriminator_norm not in ("batch", "spectral", "none"):
            raise ValueError(f"model.discriminator_norm={discriminator_norm} must be batch, spectral or none")
        if discriminator_norm == "batch":
            self.refuse_gradient_penalty("model.discriminator_norm=none or spectral")
        self.latent_dim = latent_dim
        self.G = Generator(latent_dim=latent_dim, channels=channels, height=h, width=w, base=width, most=max_width)
        self.D = Discriminator(
            channels=channels, height=h, width=w, base=width, most=max_width, norm=discriminator_norm
        )
        self.G.apply(init_weights)
        self.D.apply(init_weights)
        if discriminator_norm == "spectral":
            spectral_normalize(self.D)
        self.G_ema = self.average(self.G)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

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

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.best(self.G)(z)

    def critique(self, batch: LabelledImages) -> dict[str, Tensor]:
        return {"D": self.D(batch.image)}
