"""Conditional GAN: Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014, arXiv:1411.1784; and its modern
form, Miyato and Koyama, "cGANs with Projection Discriminator", ICLR 2018, arXiv:1802.05637.

Symbols
    G      generator, (z, y) -> x
    D      discriminator, (x, y) -> logit
    z      latent, N(0, I)
    y      condition: a class, or a vector

condition=joined (2014)       Figure 1: y joins the input of both players: one embedding of it is appended to z, and
                              another, as large as the image, is one more channel of x. BatchNorm.
condition=projection (2018)   y acts in every layer of G by conditional BatchNorm, and D adds to its unconditional logit
                              the inner product of y's embedding with phi(x), its features: eq. (3). Spectral
                              normalisation in D (arXiv:1802.05957).

Faithful: how the condition enters both players (2014, section 3 and Figure 1; 2018, section 3 and Figure 14), Algorithm
          1 on pairs (x, y), fakes under the labels of the real batch.
Departs:  both forms have DCGAN's convolutions (arXiv:1511.06434) in place of the perceptrons with maxout (2014) and of
          the residual networks (2018); z is normal; Adam as in DCGAN; G's result is an exponential moving average,
          G_ema.

Another modality than a class, such as an image's features, tags or attributes (2014, section 4.2): data with a table of
attributes, data.labels=attributes.csv, whose batches carry y as `label`, float32 [N, K]; or a data module of your own
that does, and `model.condition_dim=K`. Both players then embed y by a linear layer, and `generate(seeds, y)` and
`sample(n, labels=y)` take such vectors. For a whole image as condition see model=pix2pix.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from zoo.batch import LabelledImages, Preview
from zoo.game.abilities import FromLatents, OfAttributes, OfClasses
from zoo.game.gan import GAN
from zoo.game.settings import Count, Game, ImageSize, sides
from zoo.networks.convolutional import Shape, doubled, features, ladder, project
from zoo.networks.initialisation import init_weights, spectral_normalize


class OfVector(nn.Linear):
    """y, float32 [N, vector], -> [N, size]."""

    label_dim = 1  # of its weight, along which the entries of y lie


class Embed(nn.Module):
    """y, int64 [N] or float32 [N, vector], -> [N, size]."""

    def __init__(self, classes: int, vector: int | None, size: int) -> None:
        super().__init__()
        self.vector = vector
        self.table = nn.Embedding(classes, size) if vector is None else OfVector(vector, size)

    def forward(self, y: Tensor) -> Tensor:
        if self.vector is not None and (y.dim() != 2 or y.shape[1] != self.vector or not y.is_floating_point()):
            raise ValueError(
                f"model.condition_dim={self.vector} needs data whose labels are float32 [N, {self.vector}], "
                f"not {y.dtype} {list(y.shape)}"
            )
        return self.table(y)


EmbedTo = Callable[[int], Embed]  # of size


class ConditionalBatchNorm(nn.Module):
    """BatchNorm whose scale and shift depend on y (de Vries et al. 2017, arXiv:1707.00683): 1 and 0 at first."""

    def __init__(self, channels: int, embed_to: EmbedTo) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale_shift = embed_to(2 * channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        scale, shift = self.scale_shift(y)[:, :, None, None].chunk(2, dim=1)  # [N, C, 1, 1] each
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class Generator(nn.Module):
    """(z [N, latent_dim], y) -> image [N, C, H, W] in [-1, 1]; `base` channels before the image, doubling towards z."""

    def __init__(
        self, *, joined: bool, embed_to: EmbedTo, latent_dim: int, embed_dim: int, shape: Shape, base: int, most: int
    ) -> None:
        super().__init__()
        sizes, start = ladder(shape, base=base, most=most)
        sizes.reverse()
        self.joined = joined
        if joined:
            self.embed = embed_to(embed_dim)
        self.project = nn.Sequential(*project(latent_dim + embed_dim * joined, sizes[0], start))
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for c_in, c_out in pairwise([*sizes, shape[0]]):
            self.norms.append(nn.BatchNorm2d(c_in) if joined else ConditionalBatchNorm(c_in, embed_to))
            self.convs.append(doubled(c_in, c_out, bias=c_out == shape[0]))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        h = self.project(torch.cat([z, self.embed(y)], dim=1) if self.joined else z)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv((norm(h) if self.joined else norm(h, y)).relu())  # twice as high and wide
        return h.tanh()


class Discriminator(nn.Module):
    """(image [N, C, H, W], y) -> logit [N]; `base` channels after the image, doubling down to the 4-pixel end."""

    def __init__(self, *, joined: bool, embed_to: EmbedTo, shape: Shape, base: int, most: int) -> None:
        super().__init__()
        sizes, end = ladder(shape, base=base, most=most)
        channels, *plane = shape
        self.joined = joined
        layers = features(channels + 1, sizes, norm="batch") if joined else features(channels, sizes, norm="none")
        self.features = nn.Sequential(*layers)  # [N, sizes[-1], 4, 4] at a square image
        self.embed: nn.Module
        if joined:
            self.embed = nn.Sequential(embed_to(math.prod(plane)), nn.Unflatten(1, (1, *plane)))
            self.judge = nn.Sequential(nn.Conv2d(sizes[-1], 1, end), nn.Flatten(0))
        else:
            self.embed = embed_to(sizes[-1])
            self.judge = nn.Sequential(nn.Linear(sizes[-1], 1), nn.Flatten(0))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.joined:
            return self.judge(self.features(torch.cat([x, self.embed(y)], dim=1)))
        phi = self.features(x).sum((2, 3))  # [N, sizes[-1]]
        return self.judge(phi) + (self.embed(y) * phi).sum(1)  # psi(phi(x)) + y^T V phi(x), eq. (3)


class CGAN(GAN, FromLatents, OfClasses, OfAttributes):
    """Two convolutional networks that are both told what the image shall show.

    Args:
        image_size: its shorter side a power of two from 16 to 256, its longer one a multiple of a quarter of that.
        channels: of the images; any.
        classes: the names of the classes, by label; those of the data if the configuration says null.
        condition: how y enters, see the header.
        attributes: the names of y's entries where it is a vector; those of the data if the configuration says null.
        condition_dim: the dimension of y where it is a vector; None: that of the attributes, or else y is a class.
        latent_dim, embed_dim: the dimension of z, and of y beside it in the joined form.
        width, max_width: channels next to the image, doubled at each halving of the resolution, and the most of them.
    """

    def __init__(
        self, *, image_size: ImageSize, channels: Count, classes: list[str] | None,
        attributes: list[str] | None, condition: Literal["joined", "projection"], condition_dim: Count | None,
        latent_dim: Count, embed_dim: Count, width: Count, max_width: Count, **game: Unpack[Game],
    ) -> None:  # fmt: skip
        super().__init__(**game)
        vector = condition_dim or len(attributes or []) or None
        if attributes and vector != len(attributes):
            raise ValueError(
                f"model.condition_dim={condition_dim}, but there are {len(attributes)} attributes "
                f"({', '.join(attributes[:10])}): leave model.condition_dim out"
            )
        if not classes and vector is None:
            raise ValueError(
                "these data have no classes to condition on: use data=mnist5k, mnist, fashion_mnist, cifar10, or "
                "labelled_folder with a subfolder for each class or a dataset.json; or give a table of classes or of "
                "attributes, data.labels=FILE"
            )
        if condition == "joined":
            self.refuse_gradient_penalty("model.condition=projection, whose D has none")
        self.latent_dim, self.attributes = latent_dim, list(attributes or [])
        self.classes = list(classes or []) if vector is None else []
        shared: dict[str, Any] = {"shape": (channels, *sides(image_size)), "base": width, "most": max_width}
        shared |= {"joined": condition == "joined", "embed_to": partial(Embed, len(classes or []), vector)}
        self.G = Generator(latent_dim=latent_dim, embed_dim=embed_dim, **shared)
        self.D = Discriminator(**shared)
        init_weights(self.G, self.D)
        if condition == "projection":
            for norm in self.G.norms:
                for parameter in norm.parameters():
                    nn.init.zeros_(parameter)  # scales begin at 1, shifts at 0
            spectral_normalize(self.D)
        self.G_ema = self.average(self.G)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def varies(self) -> str:
        return ""

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        """Algorithm 1 of Goodfellow et al. 2014 with k = n_critic, each player conditioned on y: 2014's eq. (2)."""
        x, y = batch.image, batch.label  # [N, C, H, W], [N]
        D = lambda image: self.D(image, y)
        fake = self.G(self.latent(len(x)), y)

        # Ascend log D(x|y) + log(1 - D(G(z|y))).
        with self.turn("D") as minimize:
            real, generated = self.T(x), self.T(fake.detach())
            logits = self.judge(D(real), D(generated))  # [N] each
            minimize(adversarial=self.loss.discriminator(*logits), **self.penalties(D, real, generated))

        # Ascend log D(G(z|y)), after each n_critic turns of D.
        if self.due("G"):
            with self.turn("G") as minimize:
                real_logit = D(self.T(x)) if self.loss.paired else None
                minimize(adversarial=self.loss.generator(D(self.T(fake)), real_logit))

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            names = f" ({', '.join(self.attributes)})" if self.attributes else ""
            raise ValueError(f"this model is conditioned on vectors{names}: give one for each image, labels=[n, K]")
        return self.best(self.G)(z, labels)

    def critique(self, batch: LabelledImages) -> dict[str, Tensor]:
        return {"D": self.D(batch.image, batch.label)}

    def preview(self, batch: LabelledImages) -> dict[str, Preview]:
        """Fakes under the conditions of the real images beside them."""
        label = batch.label if self.classes else None
        fake = self.generate(batch.index, batch.label)
        return {"samples": Preview(fake=fake, real=batch.image, label=label, real_label=label)}
