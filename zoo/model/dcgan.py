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

from typing import Any

import torch
from torch import Tensor

from zoo.batch import LabelledImages, Preview
from zoo.game import losses
from zoo.game.augment import Augment
from zoo.game.averages import EMA
from zoo.game.gan import GAN, check_players, linear_decay
from zoo.game.regularizers import Regularizer
from zoo.networks.convolutional import Discriminator, Generator
from zoo.networks.initialisation import init_weights, spectral_normalize


class DCGAN(GAN):
    """Two convolutional networks against each other.

    Args:
        image_size: pixels, one number or [height, width]: the shorter side a power of two from 16 to 256, the longer
            one a multiple of a quarter of it.
        channels: of the images; any.
        latent_dim: the dimension of z.
        width: channels next to the image, doubled at each halving of the resolution.
        max_width: the most channels of a layer.
        discriminator_norm: "batch", "spectral" or "none": what D's layers are normalised by.
        lr: Adam's learning rate for each player.
        betas: Adam's.
        clip_norm: the largest norm of a player's gradient in a turn, or None.
        decay_start, decay_end: images from which on the learning rates fall linearly, and at which they are 0;
            decay_start None keeps them constant.
        ema_half_life: of G's average, in images.
        n_critic: turns of D for each turn of G.
        skip_d_above: D skips its turn while its accuracy on the batch, in [0, 1], is above this; None: never.
        loss: the objective's name in zoo/game/losses.py.
        regularizer: weights of the gradient penalties, see `zoo.game.regularizers.Regularizer`.
        augment: what is done to the images that D sees, see `zoo.game.augment.Augment`.

    Raises:
        ValueError: for an image size that the network can't make, with the nearest that it can.
    """

    def __init__(
        self,
        *,
        image_size: int | list[int],
        channels: int,
        latent_dim: int,
        width: int,
        max_width: int,
        discriminator_norm: str,
        lr: dict[str, float],
        betas: list[float],
        clip_norm: float | None,
        decay_start: int | None,
        decay_end: int,
        ema_half_life: float,
        n_critic: int,
        skip_d_above: float | None,
        loss: str,
        regularizer: dict[str, Any],
        augment: dict[str, Any],
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        h, w = (image_size, image_size) if isinstance(image_size, int) else image_size
        if discriminator_norm not in ("batch", "spectral", "none"):
            raise ValueError(f"model.discriminator_norm={discriminator_norm} must be batch, spectral or none")
        if regularizer["gradient_penalty"] and discriminator_norm == "batch":
            raise ValueError(
                "regularizer=gradient_penalty holds each image's gradient, and BatchNorm mixes the images: "
                "set model.discriminator_norm=none or spectral"
            )
        check_players(self.hparams)
        self.loss = losses.named(loss)
        self.regularizer, self.T = Regularizer(**regularizer), Augment(**augment)
        self.G = Generator(latent_dim=latent_dim, channels=channels, height=h, width=w, base=width, most=max_width)
        self.D = Discriminator(
            channels=channels, height=h, width=w, base=width, most=max_width, norm=discriminator_norm
        )
        self.G.apply(init_weights)
        self.D.apply(init_weights)
        if discriminator_norm == "spectral":
            spectral_normalize(self.D)
        self.G_ema = EMA(self.G, half_life=ema_half_life)

    def players(self) -> dict[str, torch.optim.Optimizer]:
        lr, betas = self.hparams["lr"], tuple(self.hparams["betas"])
        return {
            "D": torch.optim.Adam(self.D.parameters(), lr=lr["D"], betas=betas, fused=True),
            "G": torch.optim.Adam(self.G.parameters(), lr=lr["G"], betas=betas, fused=True),
        }

    def lr_scale(self, player: str, images: int) -> float:
        return linear_decay(images, self.hparams["decay_start"], self.hparams["decay_end"])

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        """Goodfellow et al. 2014, Algorithm 1 with k = n_critic; the paper's: 1, and the non-saturating objective."""
        x = batch.image  # [N, C, H, W]
        clip_norm, skip_d_above = self.hparams["clip_norm"], self.hparams["skip_d_above"]
        fake = self.G(self.latent(len(x)))

        # Ascend log D(x) + log(1 - D(G(z))), unless D is too strong already.
        with self.turn("D", clip_norm=clip_norm) as minimize:
            real, generated = self.T(x, self.rng), self.T(fake.detach(), self.rng)
            real_logit, fake_logit = self.D(real), self.D(generated)  # [N] each
            judgement = self.loss.judgement(real_logit, fake_logit)
            accuracy = (judgement["accuracy_real"] + judgement["accuracy_fake"]) / 2
            if skip_d_above is None or self.agreed(accuracy) <= skip_d_above:
                minimize(
                    adversarial=self.loss.discriminator(real_logit, fake_logit),
                    **self.regularizer(self.D, real, generated, turn=self.turns["D"], generator=self.rng),
                )

        # Ascend log D(G(z)), after each n_critic turns of D.
        if self.turns["D"] % self.hparams["n_critic"] == 0:
            with self.turn("G", clip_norm=clip_norm) as minimize:
                real_logit = self.D(self.T(x, self.rng)) if self.loss.paired else None
                minimize(adversarial=self.loss.generator(self.D(self.T(fake, self.rng)), real_logit))

        self.G_ema.update(self.G, images=len(x) * self.world_size)
        self.T.adapt(judgement["accuracy_real"], images=len(x) * self.world_size)
        self.observe("D", judgement)
        if self.T.target is not None:
            self.observe("T", {"p": self.T.strength})

    def generate(self, seeds: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.from_latents(self.latent_of(seeds))

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.G_ema(z)

    def critique(self, batch: LabelledImages) -> dict[str, Tensor]:
        return {"D": self.D(batch.image)}

    def preview(self, batch: LabelledImages) -> dict[str, Preview]:
        return {"samples": Preview(fake=self.generate(batch.index), real=batch.image)}
