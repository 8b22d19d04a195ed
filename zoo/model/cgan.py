"""Conditional GAN: Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014, arXiv:1411.1784; and its modern
form, Miyato and Koyama, "cGANs with Projection Discriminator", ICLR 2018, arXiv:1802.05637.

Symbols
    G      generator, (z, y) -> x
    D      discriminator, (x, y) -> logit
    z      latent, N(0, I)
    y      condition: a class, or a vector
    T      augmentation of all that D sees; the identity by default

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

Another modality than a class, such as an image's features, tags or attributes (2014, section 4.2): train it with
`model.condition_dim=K` and a data module whose batches carry y as `label`, float32 [N, K]; both players then embed it
by a linear layer, and `generate(seeds, y)` and `sample(n, labels=y)` take such vectors. For a whole image as condition
see model=pix2pix.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from zoo.batch import LabelledImages, Preview
from zoo.game import losses
from zoo.game.augment import Augment
from zoo.game.averages import EMA
from zoo.game.gan import GAN, check_players, linear_decay
from zoo.game.regularizers import Regularizer
from zoo.networks.convolutional import doubled, features, ladder, project
from zoo.networks.initialisation import init_weights, spectral_normalize


class Embed(nn.Module):
    """y, int64 [N] or float32 [N, vector], -> [N, size]."""

    def __init__(self, *, classes: int, vector: int | None, size: int) -> None:
        super().__init__()
        self.vector = vector
        self.table = nn.Embedding(classes, size) if vector is None else nn.Linear(vector, size)

    def forward(self, y: Tensor) -> Tensor:
        if self.vector is not None and (y.dim() != 2 or y.shape[1] != self.vector or not y.is_floating_point()):
            raise ValueError(
                f"model.condition_dim={self.vector} needs data whose labels are float32 [N, {self.vector}], "
                f"not {y.dtype} {list(y.shape)}"
            )
        return self.table(y)


class ConditionalBatchNorm(nn.Module):
    """BatchNorm whose scale and shift depend on y (de Vries et al. 2017, arXiv:1707.00683): 1 and 0 at first."""

    def __init__(self, channels: int, *, classes: int, vector: int | None) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale_shift = Embed(classes=classes, vector=vector, size=2 * channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        scale, shift = self.scale_shift(y)[:, :, None, None].chunk(2, dim=1)  # [N, C, 1, 1] each
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class Generator(nn.Module):
    """(z [N, latent_dim], y) -> image [N, C, H, W] in [-1, 1]; `width` channels at the image, doubling towards z."""

    def __init__(
        self, *, condition: str, classes: int, vector: int | None, latent_dim: int, embed_dim: int,
        channels: int, height: int, width: int, base: int, most: int,
    ) -> None:  # fmt: skip
        super().__init__()
        sizes, start = ladder(height, width, base=base, most=most)
        sizes.reverse()
        self.joined = condition == "joined"
        if self.joined:
            self.embed = Embed(classes=classes, vector=vector, size=embed_dim)
        self.project = nn.Sequential(*project(latent_dim + (embed_dim if self.joined else 0), sizes[0], start))
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for c_in, c_out in pairwise([*sizes, channels]):
            self.norms.append(
                nn.BatchNorm2d(c_in) if self.joined else ConditionalBatchNorm(c_in, classes=classes, vector=vector)
            )
            self.convs.append(doubled(c_in, c_out, bias=c_out == channels))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        h = self.project(torch.cat([z, self.embed(y)], dim=1) if self.joined else z)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv((norm(h) if self.joined else norm(h, y)).relu())  # twice as high and wide
        return h.tanh()


class Discriminator(nn.Module):
    """(image [N, C, H, W], y) -> logit [N]; `width` channels after the image, doubling down to the 4-pixel end."""

    def __init__(
        self, *, condition: str, classes: int, vector: int | None,
        channels: int, height: int, width: int, base: int, most: int,
    ) -> None:  # fmt: skip
        super().__init__()
        sizes, end = ladder(height, width, base=base, most=most)
        self.joined = condition == "joined"
        layers = features(channels + 1, sizes, norm="batch") if self.joined else features(channels, sizes, norm="none")
        self.features = nn.Sequential(*layers)  # [N, sizes[-1], 4, 4] at a square image
        self.embed: nn.Module
        if self.joined:
            self.embed = nn.Sequential(
                Embed(classes=classes, vector=vector, size=height * width), nn.Unflatten(1, (1, height, width))
            )
            self.judge = nn.Sequential(nn.Conv2d(sizes[-1], 1, end), nn.Flatten(0))
        else:
            self.embed = Embed(classes=classes, vector=vector, size=sizes[-1])
            self.judge = nn.Sequential(nn.Linear(sizes[-1], 1), nn.Flatten(0))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.joined:
            return self.judge(self.features(torch.cat([x, self.embed(y)], dim=1)))
        phi = self.features(x).sum((2, 3))  # [N, sizes[-1]]
        return self.judge(phi) + (self.embed(y) * phi).sum(1)  # psi(phi(x)) + y^T V phi(x), eq. (3)


class CGAN(GAN):
    """Two convolutional networks that are both told what the image shall show.

    Args:
        image_size: pixels, one number or [height, width]: the shorter side a power of two from 16 to 256, the longer
            one a multiple of a quarter of it.
        channels: of the images; any.
        classes: the names of the classes, by label; those of the data if the configuration says null.
        condition: "joined" or "projection": how y enters, see the header.
        condition_dim: the dimension of y where it is a vector; None: y is a class.
        latent_dim: the dimension of z.
        embed_dim: of y beside z in the joined form.
        width: channels next to the image, doubled at each halving of the resolution.
        max_width: the most channels of a layer.
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
        ValueError: for an image size that the network can't make, with the nearest that it can; for data without
            classes; for an unknown `condition`.
    """

    def __init__(
        self,
        *,
        image_size: int | list[int],
        channels: int,
        classes: list[str] | None,
        condition: str,
        condition_dim: int | None,
        latent_dim: int,
        embed_dim: int,
        width: int,
        max_width: int,
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
        if condition not in ("joined", "projection"):
            raise ValueError(f"model.condition={condition} must be joined or projection")
        if not classes and condition_dim is None:
            raise ValueError(
                "these data have no classes to condition on: use data=mnist5k, mnist, fashion_mnist, cifar10, or "
                "labelled_folder with a subfolder for each class; or condition on vectors, model.condition_dim="
            )
        if regularizer["gradient_penalty"] and condition == "joined":
            raise ValueError(
                "regularizer=gradient_penalty holds each image's gradient, and BatchNorm mixes the images: "
                "set model.condition=projection, whose D has none"
            )
        check_players(self.hparams)
        height, width_ = (image_size, image_size) if isinstance(image_size, int) else image_size
        shape: dict[str, Any] = {
            "channels": channels,
            "height": height,
            "width": width_,
            "base": width,
            "most": max_width,
        }
        y: dict[str, Any] = {"condition": condition, "classes": len(classes or []), "vector": condition_dim}
        self.loss = losses.named(loss)
        self.regularizer, self.T = Regularizer(**regularizer), Augment(**augment)
        self.G = Generator(latent_dim=latent_dim, embed_dim=embed_dim, **shape, **y)
        self.D = Discriminator(**shape, **y)
        self.G.apply(init_weights)
        self.D.apply(init_weights)
        for module in self.G.modules():
            if isinstance(module, ConditionalBatchNorm):
                for parameter in module.scale_shift.parameters():
                    nn.init.zeros_(parameter)  # scales begin at 1, shifts at 0
        if condition == "projection":
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
        """Algorithm 1 of Goodfellow et al. 2014 with k = n_critic, each player conditioned on y: 2014's eq. (2)."""
        x, y = batch.image, batch.label  # [N, C, H, W], [N]
        clip_norm, skip_d_above = self.hparams["clip_norm"], self.hparams["skip_d_above"]
        fake = self.G(self.latent(len(x)), y)

        # Ascend log D(x|y) + log(1 - D(G(z|y))), unless D is too strong already.
        with self.turn("D", clip_norm=clip_norm) as minimize:
            real, generated = self.T(x, self.rng), self.T(fake.detach(), self.rng)
            real_logit, fake_logit = self.D(real, y), self.D(generated, y)  # [N] each
            judgement = self.loss.judgement(real_logit, fake_logit)
            accuracy = (judgement["accuracy_real"] + judgement["accuracy_fake"]) / 2
            if skip_d_above is None or self.agreed(accuracy) <= skip_d_above:
                given_y = lambda image: self.D(image, y)
                minimize(
                    adversarial=self.loss.discriminator(real_logit, fake_logit),
                    **self.regularizer(given_y, real, generated, turn=self.turns["D"], generator=self.rng),
                )

        # Ascend log D(G(z|y)), after each n_critic turns of D.
        if self.turns["D"] % self.hparams["n_critic"] == 0:
            with self.turn("G", clip_norm=clip_norm) as minimize:
                real_logit = self.D(self.T(x, self.rng), y) if self.loss.paired else None
                minimize(adversarial=self.loss.generator(self.D(self.T(fake, self.rng), y), real_logit))

        self.G_ema.update(self.G, images=len(x) * self.world_size)
        self.T.adapt(judgement["accuracy_real"], images=len(x) * self.world_size)
        self.observe("D", judgement)
        if self.T.target is not None:
            self.observe("T", {"p": self.T.strength})

    def critique(self, batch: LabelledImages) -> dict[str, Tensor]:
        return {"D": self.D(batch.image, batch.label)}

    def generate(self, seeds: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            if self.hparams["condition_dim"] is not None:
                raise ValueError(
                    "this model is conditioned on vectors: give one for each image, labels=[n, condition_dim]"
                )
            labels = seeds % len(self.hparams["classes"])
        return self.from_latents(self.latent_of(seeds), labels)

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.G_ema(z, labels)

    def preview(self, batch: LabelledImages) -> dict[str, Preview]:
        """Fakes of the classes of the real images beside them."""
        label = batch.label if self.hparams["condition_dim"] is None else None
        fake = self.generate(batch.index, batch.label)
        return {"samples": Preview(fake=fake, real=batch.image, label=label, real_label=label)}
