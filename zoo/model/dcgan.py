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

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from zoo import losses
from zoo.batch import LabelledImages, Preview
from zoo.ema import EMA
from zoo.gan import GAN, linear_decay

START = 4  # the shorter side of the smallest feature map, Figure 1


def doublings(height: int, width: int) -> int:
    """How often the 4-pixel start is doubled to reach the image.

    Raises:
        ValueError: unless the shorter side is a power of two from 16 to 256, and the longer one START * 2**n * k.
    """
    n = round(math.log2(min(height, width) / START))
    if min(height, width) != START * 2**n or not 16 <= min(height, width) <= 256 or max(height, width) % 2**n:
        nearest = min(max(START * 2 ** round(math.log2(max(min(height, width), 1) / START)), 16), 256)
        raise ValueError(
            f"image_size={height}x{width} does not fit DCGAN: the shorter side must be 16, 32, 64, 128 or 256 and the "
            f"longer one a multiple of a quarter of it; try data.image_size={nearest}"
        )
    return n


class Generator(nn.Sequential):
    """z [N, latent_dim] -> image [N, C, H, W] in [-1, 1]; `width` channels before the image, doubling towards z."""

    def __init__(self, *, latent_dim: int, channels: int, height: int, width: int, base: int, most: int) -> None:
        n = doublings(height, width)
        sizes = [min(base * 2**k, most) for k in reversed(range(n))]  # 1024, 512, 256, 128 in Figure 1
        start = (height >> n, width >> n)
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, sizes[0] * start[0] * start[1], bias=False),  # "project and reshape"
            nn.Unflatten(1, (sizes[0], *start)),
            nn.BatchNorm2d(sizes[0]),
            nn.ReLU(inplace=True),
        ]
        for c_in, c_out in pairwise(sizes):
            layers += [
                nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(c_out),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.ConvTranspose2d(sizes[-1], channels, 4, stride=2, padding=1), nn.Tanh()]
        super().__init__(*layers)


class Discriminator(nn.Sequential):
    """image [N, C, H, W] -> logit [N]; `width` channels after the image, doubling down to the 4-pixel end."""

    def __init__(self, *, channels: int, height: int, width: int, base: int, most: int) -> None:
        n = doublings(height, width)
        sizes = [min(base * 2**k, most) for k in range(n)]
        layers: list[nn.Module] = [
            nn.Conv2d(channels, sizes[0], 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for c_in, c_out in pairwise(sizes):
            layers += [
                nn.Conv2d(c_in, c_out, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(c_out),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        # "the last convolution layer is flattened and then fed into a single sigmoid output", which is in the loss.
        layers += [nn.Conv2d(sizes[-1], 1, (height >> n, width >> n)), nn.Flatten(0)]
        super().__init__(*layers)


def init_weights(module: nn.Module) -> None:
    """Section 4: "All weights were initialized from a zero-centered Normal distribution with standard deviation 0.02".

    BatchNorm's scales are drawn around 1, as in the authors' code.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class DCGAN(GAN):
    """Two convolutional networks against each other.

    Args:
        image_size: pixels, one number or [height, width]: the shorter side a power of two from 16 to 256, the longer
            one a multiple of a quarter of it.
        channels: of the images; any.
        latent_dim: the dimension of z.
        width: channels next to the image, doubled at each halving of the resolution.
        max_width: the most channels of a layer.
        lr: Adam's learning rate for each player.
        betas: Adam's.
        clip_norm: the largest norm of a player's gradient in a turn, or None.
        decay_start, decay_end: images from which on the learning rates fall linearly, and at which they are 0;
            decay_start None keeps them constant.
        ema_half_life: of G's average, in images.

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
        lr: dict[str, float],
        betas: list[float],
        clip_norm: float | None,
        decay_start: int | None,
        decay_end: int,
        ema_half_life: float,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        h, w = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.loss = losses.NonSaturating()
        self.G = Generator(latent_dim=latent_dim, channels=channels, height=h, width=w, base=width, most=max_width)
        self.D = Discriminator(channels=channels, height=h, width=w, base=width, most=max_width)
        self.G.apply(init_weights)
        self.D.apply(init_weights)
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
        """Goodfellow et al. 2014, Algorithm 1 with k = 1 and the non-saturating objective."""
        x = batch.image  # [N, C, H, W]
        clip_norm = self.hparams["clip_norm"]
        fake = self.G(self.latent(len(x)))

        # Ascend log D(x) + log(1 - D(G(z))).
        with self.turn("D", clip_norm=clip_norm) as minimize:
            real_logit, fake_logit = self.D(x), self.D(fake.detach())  # [N] each
            minimize(adversarial=self.loss.discriminator(real_logit, fake_logit))

        # Ascend log D(G(z)).
        with self.turn("G", clip_norm=clip_norm) as minimize:
            minimize(adversarial=self.loss.generator(self.D(fake)))

        self.G_ema.update(self.G, images=len(x) * self.world_size)
        self.observe("D", losses.judgement(real_logit, fake_logit))

    def generate(self, seeds: Tensor) -> Tensor:
        return self.G_ema(self.latent_of(seeds))

    def preview(self, batch: LabelledImages) -> dict[str, Preview]:
        return {"samples": Preview(fake=self.generate(batch.index), real=batch.image)}
