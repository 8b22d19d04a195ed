"""Vanilla GAN: Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, arXiv:1406.2661.

Symbols
    G      generator, z -> x
    D      discriminator, x -> logit; the paper's D(x) is its sigmoid
    z      latent, N(0, I)
    T      augmentation of all that D sees; the identity by default

Faithful: Algorithm 1 with one D step (k = 1) before each G step, and section 3's non-saturating objective for G.
Departs:  BatchNorm and LeakyReLU in G and LeakyReLU in D instead of ReLU, maxout and dropout, Adam instead of SGD with
          momentum, z normal instead of uniform, and tanh outputs; the sizes 256-512-1024 are those of most later
          implementations. The convolutional discriminator is an option that is not in the paper.
          G's result is an exponential moving average, G_ema. Both turns use the same z (one forward of G serves both).
"""

from typing import Any

import torch
from torch import Tensor, nn

from zoo.batch import LabelledImages, Preview
from zoo.game import losses
from zoo.game.augment import Augment
from zoo.game.averages import EMA
from zoo.game.gan import GAN, check_players, linear_decay
from zoo.game.regularizers import Regularizer


def dense_generator(*, latent_dim: int, hidden: list[int], channels: int, height: int, width: int) -> nn.Sequential:
    """z [N, latent_dim] -> image [N, C, H, W] in [-1, 1]."""
    sizes = [latent_dim, *hidden]
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(fan_in, fan_out, bias=False), nn.BatchNorm1d(fan_out), nn.LeakyReLU(0.2, inplace=True)]
    layers += [nn.Linear(sizes[-1], channels * height * width), nn.Tanh(), nn.Unflatten(1, (channels, height, width))]
    return nn.Sequential(*layers)


def dense_discriminator(*, hidden: list[int], channels: int, height: int, width: int) -> nn.Sequential:
    """image [N, C, H, W] -> logit [N, 1]."""
    sizes = [channels * height * width, *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))


def conv_discriminator(*, channels: int, height: int, width: int) -> nn.Sequential:
    """image [N, C, H, W] -> logit [N, 1], by two 3x3 convolutions of stride 2 with 64 and 128 channels."""
    features = 128 * -(-height // 4) * -(-width // 4)
    return nn.Sequential(
        nn.Conv2d(channels, 64, 3, stride=2, padding=1),  # [N, 64, H/2, W/2]
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(64, 128, 3, stride=2, padding=1),  # [N, 128, H/4, W/4]
        nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(),
        nn.Linear(features, 1),
    )


class VanillaGAN(GAN):
    """Two multilayer perceptrons against each other.

    Args:
        image_size: pixels, one number or [height, width]; any.
        channels: of the images; any.
        latent_dim: the dimension of z.
        hidden: widths of G's hidden layers; a dense D has them in reverse, without the smallest.
        discriminator: "dense" or "conv".
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
        ValueError: for an unknown discriminator.
    """

    def __init__(
        self,
        *,
        image_size: int | list[int],
        channels: int,
        latent_dim: int,
        hidden: list[int],
        discriminator: str,
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
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        check_players(self.hparams)
        self.loss = losses.named(loss)
        self.regularizer, self.T = Regularizer(**regularizer), Augment(**augment)
        self.G = dense_generator(latent_dim=latent_dim, hidden=hidden, channels=channels, height=height, width=width)
        if discriminator == "dense":
            self.D = dense_discriminator(hidden=hidden[:0:-1], channels=channels, height=height, width=width)
        elif discriminator == "conv":
            self.D = conv_discriminator(channels=channels, height=height, width=width)
        else:
            raise ValueError(f"discriminator={discriminator!r} must be 'dense' or 'conv'")
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
        """Algorithm 1, k = n_critic."""
        x = batch.image  # [N, C, H, W]
        clip_norm, skip_d_above = self.hparams["clip_norm"], self.hparams["skip_d_above"]
        fake = self.G(self.latent(len(x)))

        # Ascend log D(x) + log(1 - D(G(z))), unless D is too strong already.
        with self.turn("D", clip_norm=clip_norm) as minimize:
            real, generated = self.T(x, self.rng), self.T(fake.detach(), self.rng)
            real_logit, fake_logit = self.D(real), self.D(generated)  # [N, 1] each
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
