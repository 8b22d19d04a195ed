"""f-AnoGAN: Schlegl, Seeböck, Waldstein, Langs, Schmidt-Erfurth, "f-AnoGAN: Fast unsupervised anomaly detection with
generative adversarial networks", Medical Image Analysis 54, 2019, doi:10.1016/j.media.2019.01.010; it makes AnoGAN
(Schlegl et al. 2017, arXiv:1703.05921) fast by an encoder, over the game of WGAN-GP (Gulrajani et al. 2017,
arXiv:1704.00028).

Symbols
    G      generator, z -> x
    D      critic, x -> logit; f(x): its features before the last layer, n_d of them
    E      encoder, x -> z
    z      latent, N(0, I)
    kappa  weight of the critic's features
    A(x)   anomaly score

One run has two phases. In the first, "gan", up to the share `gan_share` of the budget, G and D play on normal images
alone. Then both are held, and E learns through them, "izi_f": from an image to z and back, guided by f,

    L(x) = 1/n |x - G(E(x))|^2 + kappa / n_d |f(x) - f(G(E(x)))|^2

with n the number of pixels. An image's anomaly score is the same expression, A(x) = A_R(x) + kappa A_D(x): what is
unlike the normal images has no z, and comes back as something that is like them. Where it differs is the residual
|x - G(E(x))|, by pixels.

Faithful: the two phases, the loss, the score and the residual; network=residual has the networks of the authors' code
          (github.com/tSchlegl/f-AnoGAN, of Gulrajani et al.'s for 64 pixels: residual blocks, BatchNorm in G and E,
          layer normalisation in D), f its last feature map, E like D with BatchNorm and no bound on z, kappa = 1, G's
          running statistics while E learns, WGAN-GP's lambda = 10, Adam, and RMSprop for E.
Departs:  network=convolutional, the default of small scales, has DCGAN's layers in G, D and E, which two cores train.
          Higher rates, Adam's beta1 = 0.5 (the authors': 0) and fewer turns of D for one of G (the authors': 5), for
          budgets of a small part of theirs.
          The G that E learns through is an exponential moving average. Images of any number of channels, height and
          width, as far as the networks take them; the paper cuts patches of 64 pixels out of its scans, one grey
          channel.

Until E has learnt, the score in the curves is what the critic alone says, -D(x).
"""

from itertools import pairwise
from typing import Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from zoo.batch import LabelledImages, Preview
from zoo.game.abilities import FromLatents, Scores
from zoo.game.gan import GAN
from zoo.game.settings import Count, Game, ImageSize, Share, Weight, sides
from zoo.networks import convolutional
from zoo.networks.convolutional import Shape, features, ladder
from zoo.networks.initialisation import init_weights


class LayerNorm(nn.Module):
    """Each image of [N, C, H, W] to mean 0 and variance 1 over all its numbers, then a scale and a shift a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = (nn.Parameter(start(channels, 1, 1)) for start in (torch.ones, torch.zeros))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:]) * self.weight + self.bias


class ResidualBlock(nn.Module):
    """[N, c_in, h, w] -> [N, c_out, 2h, 2w] by resample="up", [N, c_out, h/2, w/2] by "down".

    Normalisation, ReLU, 3x3 convolution, twice, beside a 1x1 convolution: up before the first of the two convolutions,
    by repetition; down after the second one, by means.
    """

    def __init__(self, c_in: int, c_out: int, *, norm: type[nn.Module], resample: Literal["up", "down"]) -> None:
        super().__init__()
        between = c_out if resample == "up" else c_in
        self.resample = resample
        self.first = nn.Sequential(norm(c_in), nn.ReLU())
        self.conv1 = nn.Conv2d(c_in, between, 3, padding=1, bias=False)
        self.second = nn.Sequential(norm(between), nn.ReLU(), nn.Conv2d(between, c_out, 3, padding=1))
        self.shortcut = nn.Conv2d(c_in, c_out, 1)
        for layer in (self.conv1, self.second[-1]):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        if self.resample == "up":
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)  # a convolution of 1x1 may come before or after it
            return self.shortcut(x) + self.second(self.conv1(self.first(x)))
        return F.avg_pool2d(self.shortcut(x) + self.second(self.conv1(self.first(x))), 2)


def generator(network: str, latent_dim: int, shape: Shape, base: int, most: int) -> nn.Sequential:
    """G: z [N, latent_dim] -> image [N, C, H, W] in [-1, 1]; `base` channels before the image, `most` at most."""
    if network == "convolutional":
        G: nn.Sequential = convolutional.Generator(latent_dim=latent_dim, shape=shape, base=base, most=most)
        init_weights(G)
        return G
    sizes, (height, width) = ladder(shape, base=base, most=most)
    channels = [sizes[-1], *reversed(sizes)]  # 8, 8, 4, 2 and 1 times the base at 64 pixels
    return nn.Sequential(
        nn.Linear(latent_dim, channels[0] * height * width), nn.Unflatten(1, (channels[0], height, width)),
        *(ResidualBlock(*pair, norm=nn.BatchNorm2d, resample="up") for pair in pairwise(channels)),
        nn.BatchNorm2d(base), nn.ReLU(), nn.Conv2d(base, shape[0], 3, padding=1), nn.Tanh(),
    )  # fmt: skip


class Critic(nn.Module):
    """Image [N, C, H, W] -> [N, outputs], or logit [N] for outputs=1: a ladder of features, and one dense layer.

    A logit has no bias: D's objective, a difference of means, is blind to its level.

    Args:
        norm: of the network's features: nothing by "none", layer normalisation of the residual network; or "batch".
    """

    def __init__(self, network: str, shape: Shape, base: int, most: int, *, norm: str, outputs: int = 1) -> None:
        super().__init__()
        sizes, (height, width) = ladder(shape, base=base, most=most)
        if network == "convolutional":
            self.body = nn.Sequential(*features(shape[0], sizes, norm=norm))
        else:
            channels, normed = [*sizes, sizes[-1]], nn.BatchNorm2d if norm == "batch" else LayerNorm
            blocks = (ResidualBlock(*pair, norm=normed, resample="down") for pair in pairwise(channels))
            self.body = nn.Sequential(nn.Conv2d(shape[0], base, 3, padding=1), *blocks)
        self.head = nn.Linear(sizes[-1] * height * width, outputs, bias=outputs > 1)
        if network == "convolutional":
            init_weights(self)

    def features(self, image: Tensor) -> Tensor:
        """f(x): [N, n_d]."""
        return self.body(image).flatten(1)

    def forward(self, image: Tensor) -> Tensor:
        output = self.head(self.features(image))
        return output.flatten(0) if output.shape[1] == 1 else output


class FAnoGAN(GAN, FromLatents, Scores):
    """G and D on normal images, then E through them; see the header.

    Args:
        image_size: its shorter side a power of two from 16 to 256, its longer one a multiple of a quarter of that.
        channels: of the images; any.
        network: of G, D and E: "convolutional", DCGAN's layers, or "residual", the authors'.
        latent_dim: the dimension of z; 2 or more.
        width, max_width: channels next to the image, doubled at each halving of the resolution, and the most of them.
        gan_share: of the budget, model.decay_end, for G and D; the rest is E's.
        kappa: weight of the critic's features, in E's loss and in the score.

    Raises:
        ValueError: for a share of a budget that is not given.
    """

    def __init__(
        self, *, image_size: ImageSize, channels: Count, network: Literal["convolutional", "residual"],
        latent_dim: Count, width: Count, max_width: Count, gan_share: Share, kappa: Weight, **game: Unpack[Game],
    ) -> None:  # fmt: skip
        super().__init__(**game)
        if self.game["decay_end"] is None and 0 < gan_share < 1:
            raise ValueError(f"model.gan_share={gan_share} is a share of the budget: give model.decay_end=, in images")
        if latent_dim == 1:
            raise ValueError("model.latent_dim=1 is too few to tell images by: give 2 or more")
        self.latent_dim, self.kappa, self.gan_share = latent_dim, kappa, gan_share
        self.image_shape: Shape = (channels, *sides(image_size))
        self.G = generator(network, latent_dim, self.image_shape, width, max_width)
        self.D = Critic(network, self.image_shape, width, max_width, norm="none")
        self.E = Critic(network, self.image_shape, width, max_width, norm="batch", outputs=latent_dim)
        self.G_ema = self.average(self.G)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G], "E": [self.E]}

    def deployed(self) -> dict[str, nn.Module]:
        """D too: the score looks through it."""
        return {"D": self.D, **super().deployed()}

    def optimizer(self, player: str, parameters: list[nn.Parameter]) -> Optimizer:
        """RMSprop for E."""
        adam = super().optimizer(player, parameters)
        return torch.optim.RMSprop(parameters, lr=adam.defaults["lr"], alpha=0.9) if player == "E" else adam

    def phase_at(self, images: int) -> str:
        return "gan" if images <= self.gan_share * (self.game["decay_end"] or 0) or self.gan_share == 1 else "encoder"

    def due(self, player: str) -> bool:
        """E waits for no turns of D, which has none while E learns."""
        return player == "E" or super().due(player)

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        """WGAN-GP, Algorithm 1; then izi_f."""
        x = batch.image  # [N, C, H, W]

        if self.phase == "encoder":
            if self.phase_at(self.images_before) == "gan":
                self.synchronise()  # G's running statistics: from here on they stay, on all ranks alike
            # Descend L(x), by E alone.
            with self.turn("E") as minimize:
                residual, of_features = self.errors(x, self.through_G(self.E(x)))  # [N] each
                minimize(residual=residual.mean(), features=self.kappa * of_features.mean())
            return

        fake = self.G(self.latent(len(x)))

        # Descend D(G(z)) - D(x) + lambda (|grad D| - 1)^2.
        with self.turn("D") as minimize:
            real, generated = self.T(x), self.T(fake.detach())
            logits = self.judge(self.D(real), self.D(generated))  # [N] each
            minimize(adversarial=self.loss.discriminator(*logits), **self.penalties(self.D, real, generated))

        # Ascend D(G(z)), after each n_critic turns of D.
        if self.due("G"):
            with self.turn("G") as minimize:
                real_logit = self.D(self.T(x)) if self.loss.paired else None
                minimize(adversarial=self.loss.generator(self.D(self.T(fake)), real_logit))

    def through_G(self, z: Tensor) -> Tensor:
        """G(z) by the G that is held, with gradient to z: the average where there is one, by its running statistics."""
        held = self.G if self.G_ema is None else self.G_ema.module
        return held.eval()(z)

    def move_averages(self) -> None:
        """While E learns, G stays, and its average stays where G's phase has left it."""
        if self.phase == "gan":
            super().move_averages()

    def errors(self, x: Tensor, again: Tensor) -> tuple[Tensor, Tensor]:
        """A_R and A_D, [N] each, of images [N, C, H, W] and what they come back as."""
        of_features = self.D.features(x) - self.D.features(again)
        return (x - again).square().mean((1, 2, 3)), of_features.square().mean(1)

    def reconstructed(self, images: Tensor) -> Tensor:
        """G(E(x)), [N, C, H, W] in [-1, 1]."""
        return self.best(self.G)(self.best(self.E)(images))

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        self.check_scored(images)
        residual, of_features = self.errors(images, self.reconstructed(images))
        return (residual + self.kappa * of_features).float()

    @torch.no_grad()
    def residual(self, images: Tensor) -> Tensor:
        self.check_scored(images)
        return (images - self.reconstructed(images)).abs().mean(1, keepdim=True).float()

    def check_scored(self, images: Tensor) -> None:
        """Raise a ValueError for images of another shape than those that it was trained on, or while E is as new."""
        super().check_scored(images)
        if self.images and self.phase == "gan":
            remedy = "go on with its run, resume=RUN, or take a later checkpoint"
            if self.gan_share == 1:
                share = f"resume=RUN model.gan_share=0.5 max_images={2 * self.images}"
                remedy = f"model.gan_share=1 leaves it no image, so {share}"
            raise ValueError(
                f"{type(self).__name__} scores by its encoder, which has not begun to learn at image {self.images:,}: "
                f"{remedy}"
            )

    def critique(self, batch: LabelledImages) -> dict[str, Tensor]:
        return {"D": self.D(batch.image)}

    @torch.no_grad()
    def preview(self, batch: LabelledImages) -> dict[str, Preview]:
        """Samples, while G learns; then what images come back as, beside them and the residual."""
        x, label = batch.image, batch.label
        if self.phase == "gan" or not self.images:
            shown = self.preview_of_latents(batch)["samples"]
            return {"samples": shown._replace(real_label=label, score=-self.D(x).float())}
        again = self.reconstructed(x).float()
        panel = (x, again, (x - again).abs().clamp(max=2) - 1)
        return {"samples": Preview(again, real=x, real_label=label, target=x, score=self.score(x), panel=panel)}
