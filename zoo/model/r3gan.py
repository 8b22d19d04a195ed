"""R3GAN: Huang, Gokaslan, Kuleshov, Tompkin, "The GAN is dead; long live the GAN! A Modern Baseline GAN", NeurIPS 2024,
arXiv:2501.05441. Below, "the code" is the authors', as of their presets for CIFAR-10, FFHQ and ImageNet.

Symbols
    G      generator, (z, y) -> x
    D      discriminator, (x, y) -> logit
    z      latent, N(0, I)
    y      class, where the model is conditional
    gamma  weight of R1 and of R2, `regularizer.r1` and `regularizer.r2`
    L      the residual blocks of a network

Faithful: section 4, Config E: both networks are ResNets of bottlenecks turned inside out, 1x1 to twice the channels,
          3x3 in groups, 1x1 back, with leaky ReLU 0.2 after the first two and nothing after the sum; no normalisation,
          no minibatch statistics, no mapping, no noise, no style; between resolutions a bilinear filter, [1, 3, 3, 1]
          in both directions, and a 1x1 convolution where the channels change, neither with an activation. G begins with
          a learned map of 4x4 that z scales channel by channel, and D ends with a depthwise convolution of the last
          map: mirror images of each other. Fix-up initialisation (Zhang et al. 2019, arXiv:1901.09321): the last
          convolution of each block is 0, so that every block is the identity, and the others have the standard
          deviation g L^(-1/4) / sqrt(fan in), g = sqrt(2 / (1 + 0.2^2)). The relativistic pairing objective with R1 and
          R2, eq. (2) and section 3: `loss` and `regularizer`. The class enters G beside z, and D by the inner product
          with its embedding, as the code has it. The schedules of rates, beta2, gamma, the average's half-life and the
          augmentation along a cosine: `burn_in`. Adam with beta1 = 0, and one turn of D for each of G.
Departs:  both turns use the same z and the same real images, in one forward of G; the class of an image that G makes is
          that of the batch's real one, where the code takes it from a batch of its own. Images are clamped to [-1, 1]
          where they are looked at, not in training, as the code's. The code's bfloat16 begins at 8 pixels; here
          trainer.precision sets it for all layers but D's last. Augmentation is zoo.game.augment's, whose colours have
          the same probability as the rest, where the code's have half of it.
"""

import math
from itertools import pairwise
from typing import Any, TypeVar, Unpack

import torch
from torch import Tensor, nn

from zoo.batch import LabelledImages
from zoo.game.abilities import FromLatents, OfClasses
from zoo.game.gan import GAN
from zoo.game.settings import Count, Game, ImageSize, Layers, conditioned_on, sides
from zoo.networks.convolutional import doublings
from zoo.networks.style import blur, up2
from zoo.networks.style import widths as resolutions

SLOPE = 0.2  # of the leaky ReLUs
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # what keeps the second moment through one
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear, nn.Embedding)


@torch.no_grad()
def begin(layer: Layer, gain: float = 1.0, fan_in: int = 0) -> Layer:
    """Draw a layer's weights from N(0, gain^2 / fan in), and set its bias to 0: He et al. 2015, arXiv:1502.01852."""
    layer.weight.normal_(0.0, gain / math.sqrt(fan_in or layer.weight[0].numel()))
    if getattr(layer, "bias", None) is not None:
        layer.bias.zero_()  # type: ignore[operator, union-attr]
    return layer


class Block(nn.Module):
    """x + f(x), [N, channels, H, W]: f goes through `expansion` times the channels, the middle convolution in groups of
    `group_width`; `blocks` of them are in the network. At first f is 0."""

    def __init__(self, channels: int, *, expansion: int, group_width: int, blocks: int) -> None:
        super().__init__()
        wide, gain = channels * expansion, GAIN * blocks ** (-1 / 4)  # -1 / (2 m - 2) of m = 3 convolutions
        if wide % min(group_width, wide):
            raise ValueError(
                f"model.group_width={group_width} does not divide the {wide} channels of a block ({channels} times "
                f"model.expansion={expansion}): give one that divides them, such as {math.gcd(group_width, wide)}"
            )
        groups = wide // min(group_width, wide)
        self.f = nn.Sequential(
            begin(nn.Conv2d(channels, wide, 1), gain),
            nn.LeakyReLU(SLOPE),
            begin(nn.Conv2d(wide, wide, 3, padding=1, groups=groups), gain),
            nn.LeakyReLU(SLOPE),
            begin(nn.Conv2d(wide, channels, 1, bias=False), 0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x)


class Change(nn.Conv2d):
    """[N, c_in, H, W] -> [N, c_out, H, W], 1x1, where the channels change from one resolution to the next."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 1, bias=False)
        begin(self)


def change(c_in: int, c_out: int) -> nn.Module:
    """Nothing where the channels stay."""
    return nn.Identity() if c_in == c_out else Change(c_in, c_out)


class Stage(nn.Sequential):
    """The blocks of one resolution."""

    def __init__(self, channels: int, *, depth: int, expansion: int, group_width: int, blocks: int) -> None:
        block = {"expansion": expansion, "group_width": group_width, "blocks": blocks}
        super().__init__(*[Block(channels, **block) for _ in range(depth)])


class Generator(nn.Module):
    """(z [N, latent_dim], y) -> image [N, C, H, W], which aims at [-1, 1] and is not clamped.

    Args:
        latent_dim, embed_dim: of z, and of y beside it.
        classes: how many y may be; 0: there is no y.
        channels: of the images.
        start: (height, width) of the smallest map.
        sizes: channels at each resolution, from the smallest on.
        depth, expansion, group_width: blocks of each resolution; of a block.
    """

    def __init__(
        self, *, latent_dim: int, embed_dim: int, classes: int, channels: int, start: tuple[int, int],
        sizes: list[int], depth: int, expansion: int, group_width: int,
    ) -> None:  # fmt: skip
        super().__init__()
        block = {"depth": depth, "expansion": expansion, "group_width": group_width, "blocks": depth * len(sizes)}
        self.embed = begin(nn.Embedding(classes, embed_dim), fan_in=classes) if classes else None
        self.basis = nn.Parameter(torch.randn(sizes[0], *start))
        self.scale = begin(nn.Linear(latent_dim + embed_dim * bool(classes), sizes[0], bias=False))
        self.changes = nn.ModuleList([change(a, b) for a, b in pairwise(sizes)])
        self.stages = nn.ModuleList([Stage(size, **block) for size in sizes])
        self.image = begin(nn.Conv2d(sizes[-1], channels, 1, bias=False))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            assert y is not None
            z = torch.cat([z, self.embed(y)], dim=1)
        h = self.stages[0](self.basis * self.scale(z)[:, :, None, None])
        for to, stage in zip(self.changes, self.stages[1:], strict=True):
            h = stage(up2(to(h)))  # twice as high and wide
        return self.image(h).to(self.basis.dtype)


class Discriminator(nn.Module):
    """(image [N, C, H, W], y) -> logit [N]; the arguments are `Generator`'s, `sizes` too, and `end` is its start."""

    def __init__(
        self, *, classes: int, channels: int, end: tuple[int, int], sizes: list[int], depth: int, expansion: int,
        group_width: int,
    ) -> None:  # fmt: skip
        super().__init__()
        block = {"depth": depth, "expansion": expansion, "group_width": group_width, "blocks": depth * len(sizes)}
        down = sizes[::-1]
        self.enter = begin(nn.Conv2d(channels, down[0], 1, bias=False))
        self.stages = nn.ModuleList([Stage(size, **block) for size in down])
        self.changes = nn.ModuleList([change(a, b) for a, b in pairwise(down)])
        self.basis = begin(nn.Conv2d(down[-1], down[-1], end, groups=down[-1], bias=False))
        self.judge = begin(nn.Linear(down[-1], down[-1] if classes else 1, bias=False))
        self.embed = begin(nn.Embedding(classes, down[-1]), down[-1] ** -0.5, classes) if classes else None

    def from_image(self) -> list[list[nn.Module]]:
        """Its layers, from the image on: the resolutions, the first with what takes images in, and what follows."""
        resolutions: list[list[nn.Module]] = [[stage] for stage in self.stages]
        resolutions[0].append(self.enter)
        for resolution, to in zip(resolutions, self.changes, strict=False):
            resolution.append(to)
        return [*resolutions, [self.basis], [self.judge, *([] if self.embed is None else [self.embed])]]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.stages[0](self.enter(x))
        for to, stage in zip(self.changes, self.stages[1:], strict=True):
            h = stage(to(blur(h, padding=1, stride=2)))  # half as high and wide
        with torch.autocast(x.device.type, enabled=False):
            phi = self.judge(self.basis(h.to(x.dtype)).flatten(1))  # [N, 1] or [N, sizes[0]]
            if self.embed is None:
                return phi[:, 0]
            assert y is not None
            return (phi * self.embed(y)).sum(1)


class R3GAN(GAN, FromLatents, OfClasses):
    """Two plain ResNets against each other, held by R1 and R2.

    Args:
        image_size: its shorter side a power of two from 16 to 256, its longer one a multiple of a quarter of that.
        channels: of the images; any.
        classes: the names of the classes, by label; those of the data if the configuration says null.
        conditional: whether G and D are told the class.
        latent_dim, embed_dim: the dimensions of z, and of y beside it.
        channel_base, channel_max: a resolution has min(channel_base / pixels of the shorter side, channel_max)
            channels.
        widths: the channels of each resolution, from 4 pixels on; None: those of the two above.
        blocks: residual blocks of each resolution.
        expansion: how many times as many channels a block has inside.
        group_width: channels in a group of the 3x3 convolutions.
    """

    def __init__(
        self, *, image_size: ImageSize, channels: Count, classes: list[str] | None, conditional: bool,
        latent_dim: Count, embed_dim: Count, channel_base: Count, channel_max: Count, widths: list[Count] | None,
        blocks: Layers, expansion: Count, group_width: Count, **game: Unpack[Game],
    ) -> None:  # fmt: skip
        classes = conditioned_on(classes, conditional)
        super().__init__(**game)
        h, w = sides(image_size)
        n = doublings(h, w)
        sizes = resolutions(n, base=channel_base, most=channel_max) if widths is None else list(widths)
        if len(sizes) != n + 1:
            raise ValueError(
                f"model.widths={sizes} has {len(sizes)} of the {n + 1} resolutions from 4 pixels to {4 * 2**n}: give "
                "one number of channels for each, or leave it out"
            )
        self.latent_dim, self.classes, small = latent_dim, list(classes or []), (h >> n, w >> n)
        shape: dict[str, Any] = {"classes": len(self.classes), "channels": channels, "sizes": sizes, "depth": blocks}
        shape |= {"expansion": expansion, "group_width": group_width}
        self.G = Generator(latent_dim=latent_dim, embed_dim=embed_dim, start=small, **shape)
        self.D = Discriminator(end=small, **shape)
        self.G_ema = self.average(self.G)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def varies(self) -> str:
        return ""

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        """Goodfellow et al. 2014, Algorithm 1, with the objective of eq. (2) and R1 + R2 in every turn of D."""
        x, y = batch.image, batch.label if self.classes else None
        D = lambda image: self.D(image, y)
        fake = self.G(self.latent(len(x)), y)

        # Descend f(D(G(z)) - D(x)) + gamma / 2 (||grad D(x)||^2 + ||grad D(G(z))||^2), f the softplus.
        with self.turn("D") as minimize:
            real, generated = self.T(x), self.T(fake.detach())
            logits = self.judge(D(real), D(generated))  # [N] each
            minimize(adversarial=self.loss.discriminator(*logits), **self.penalties(D, real, generated))

        # Descend f(D(x) - D(G(z))), after each n_critic turns of D.
        if self.due("G"):
            with self.turn("G") as minimize:
                real_logit = D(self.T(x)) if self.loss.paired else None
                minimize(adversarial=self.loss.generator(D(self.T(fake)), real_logit))

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.best(self.G)(z, *([labels] if self.classes else [])).clamp(-1, 1)

    def critique(self, batch: LabelledImages) -> dict[str, Tensor]:
        return {"D": self.D(batch.image, batch.label if self.classes else None)}
