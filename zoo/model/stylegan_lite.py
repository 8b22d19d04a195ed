"""StyleGAN without compiled extensions: Karras, Laine, Aila, "A Style-Based Generator Architecture for Generative
Adversarial Networks", CVPR 2019, arXiv:1812.04948; its second form, Karras et al., "Analyzing and Improving the Image
Quality of StyleGAN", CVPR 2020, arXiv:1912.04958; with the class-conditional networks of Karras et al. 2020,
arXiv:2006.06676 (StyleGAN2-ADA).

Symbols
    G      generator: f, the mapping z -> w, and g, the synthesis (w of each layer, noise) -> x
    D      discriminator, x -> logit
    z, w   latent, N(0, I), and intermediate latent; `ws` is one w for each layer, [N, num_ws, w_dim]
    y      class, where the model is conditional
    psi    truncation: 1 is none, 0 the one image of the mean w

growth=none          StyleGAN2: the skip generator, which adds up what each resolution contributes to the image, and the
                     residual D (2020, section 4.1 and Figure 7): `zoo.networks.growth`.
growth=progressive   Karras et al. 2018, arXiv:1710.10196, on the same layers: `zoo.networks.progressive`.
growth=multi_scale   MSG-GAN, Karnewar and Wang 2020, arXiv:1903.06048, likewise: `zoo.networks.multi_scale`.

Faithful: equalised learning rates, the mapping's at a hundredth, modulation and demodulation (2020, section 2.2), noise
          for each pixel with one learned strength a layer, the filter [1, 3, 3, 1], minibatch standard deviation in
          groups of 4, style mixing, truncation towards the tracked mean of w, which G's average has as it is, the
          mapping's normalised z; the non-saturating loss with lazy R1 and lazy path length regularisation, in which
          styles are mixed and the mean length is differentiated too; Adam with beta1 = 0.
Departs:  a lazy penalty is a term of the turn's one step and not a step of its own, so neither Adam's rate nor its
          betas need the correction of 2020, appendix B; see `zoo.game.regularizers`. Both turns use the same z, the
          path length that of G's turn again, and mixing is drawn for each image, where the authors' code draws it for a
          batch. The class of an image that G makes is that of the batch's real one. The mean of w is that of all
          classes, moved once in each step. G's average warms up, as StyleGAN2-ADA's does by default and StyleGAN2's
          does not. y enters D's projection by one linear layer, unless `class_layers` asks for StyleGAN2-ADA's mapping
          of classes. "Lite" is the width by default, not the method.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.batch import LabelledImages
from zoo.game.abilities import FromLatents, OfClasses, Styles, Truncates, labels_of
from zoo.game.gan import GAN
from zoo.game.settings import Blocks, Count, Game, ImageSize, Layers, Positive, Share, conditioned_on, sides
from zoo.networks import style
from zoo.networks.convolutional import doublings
from zoo.networks.growth import Growth, Stage
from zoo.networks.multi_scale import MultiScale
from zoo.networks.path_length import PathLength, path_lengths
from zoo.networks.progressive import Progressive
from zoo.networks.style import Block, Conv, Embed, Linear, StyledConv, ToRGB, activate, normalise

Noise = str | Sequence[Tensor]  # "random", "fixed" (the same for every image), "none", or what each layer of G adds


class Generator(nn.Module):
    """z [N, latent_dim], y -> w -> image [N, C, H, W], which aims at [-1, 1] and is not clamped.

    Args:
        latent_dim, w_dim: of z and of w.
        classes: how many y may be; 0: there is no y.
        layers, rate: of the mapping; its learning rate, relative to the others.
        sizes: channels of the features at each level, see `widths`.
        noise: whether the layers take noise.
        growth: the images' shapes, and how the levels make the image.
        clamp: the largest magnitude of what a layer of the synthesis gives; None: any.

    A `stage` of growing that is None is its end.
    """

    w_mean: Tensor  # [w_dim]: the mean of w over z, and over the classes of the training images, for truncation
    copied_buffers = frozenset({"w_mean"})  # the average of G has this very mean, not one of its own

    def __init__(
        self, *, latent_dim: int, w_dim: int, classes: int, layers: int, rate: float,
        sizes: list[int], noise: bool, growth: Growth, clamp: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.growth, self.top, self.num_ws = growth, growth.top, 2 * growth.top + 2
        channels, height, width = growth.shapes[0]
        self.embed = Embed(classes, w_dim) if classes else None
        inputs = [latent_dim + (w_dim if classes else 0), *[w_dim] * (layers - 1)]
        self.mapping = nn.ModuleList([Linear(c_in, w_dim, rate=rate) for c_in in inputs])
        self.start = nn.Parameter(torch.randn(1, sizes[0], height, width))
        # One layer at the start, then two at each level: the i-th is at the ceil(i / 2)-th.
        self.noise_sizes = [growth.shapes[(i + 1) // 2][1:] for i in range(2 * self.top + 1)]
        self.convs = nn.ModuleList(
            StyledConv(
                sizes[i // 2], sizes[(i + 1) // 2],
                w_dim=w_dim, noise=size if noise else None, up=i % 2 == 1, clamp=clamp,
            )
            for i, size in enumerate(self.noise_sizes)
        )  # fmt: skip
        self.rgbs = nn.ModuleList([ToRGB(size, channels, w_dim=w_dim, clamp=clamp) for size in sizes])
        self.register_buffer("w_mean", torch.zeros(w_dim))

    def forward(
        self, z: Tensor, y: Tensor | None = None, *, mix: tuple[Tensor, Tensor] | None = None, noise: Noise = "random",
        stage: Stage | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """What D is to see, [N, C, h, w] or packed, and w [N, w_dim] of z.

        Args:
            z, y: [N, latent_dim]; classes, int64 [N], where there are any.
            mix: another z [N, latent_dim], and bool [N, num_ws]: which layers are its (2019, section 3.1).
        """
        stage = stage or self.growth.end
        ws, w = self.mixed(z, y, mix)
        return self.growth.pack(self.images(ws, noise, stage, self.growth.seen(stage))), w

    def mixed(self, z: Tensor, y: Tensor | None, mix: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """ws [N, num_ws, w_dim] of z, y and `mix`, as `forward` takes them, and w [N, w_dim] of z."""
        w = self.map(z, y)
        ws = w[:, None].expand(-1, self.num_ws, -1)
        if mix is not None:
            ws = torch.where(mix[1][:, :, None], self.map(mix[0], y)[:, None], ws)
        return ws, w

    @torch.no_grad()
    def grown_from(self, smaller: nn.Module) -> None:
        """Begin as a smaller one of this kind, whose levels it has taken over: its image, enlarged.

        What the new levels add to the image is 0 at first, where images add up.
        """
        if type(self.growth) is Growth and isinstance(smaller, Generator):
            for rgb in self.rgbs[len(smaller.rgbs) :]:
                rgb.weight.zero_()  # type: ignore[operator]

    def map(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """f: z [N, latent_dim], y int64 [N] -> w [N, w_dim], in float32."""
        with torch.autocast(z.device.type, enabled=False):
            w = normalise(z)
            if self.embed is not None:
                assert y is not None
                w = torch.cat([w, self.embed(y)], 1)
            for layer in self.mapping:
                w = activate(layer(w))
        return w

    def truncate(self, ws: Tensor, psi: float | Tensor) -> Tensor:
        """ws [N, num_ws, w_dim] drawn towards the mean: w_mean + psi (w - w_mean): 2019, appendix B."""
        return self.w_mean.lerp(ws, psi)

    def synthesize(self, ws: Tensor, noise: Noise = "random", *, stage: Stage | None = None) -> Tensor:
        """g: ws [N, num_ws, w_dim] -> image [N, C, h, w] of the stage's size, not clamped."""
        stage = stage or self.growth.end
        return self.images(ws, noise, stage, self.growth.contributing(stage))[-1]

    def modulations(self, stage: Stage | None = None) -> list[Tensor]:
        """The weights [C, w_dim] by which ws enter the layers that make the image."""
        stage = stage or self.growth.end
        rgbs = [self.rgbs[k] for k in self.growth.contributing(stage)]
        return [layer.style.weight for layer in (*self.convs[: 2 * stage[0] + 1], *rgbs)]

    def images(self, ws: Tensor, noise: Noise, stage: Stage, levels: range) -> list[Tensor]:
        """The images that come of what these levels contribute, from the smallest to the stage's."""
        if isinstance(noise, str) and noise not in ("random", "fixed", "none"):
            raise ValueError(f"noise={noise!r} must be random, fixed or none, or a tensor for each layer")
        x = self.start.expand(ws.shape[0], -1, -1, -1)  # len would fix the number in an exported graph
        images: list[Tensor] = []
        for k in range(stage[0] + 1):
            for i in range(max(2 * k - 1, 0), 2 * k + 1):
                x = self.convs[i](x, ws[:, i], self._noise(i, ws.shape[0], noise))
            if k in levels:
                images.append(self.growth.join(images, self.rgbs[k](x, ws[:, 2 * k + 1]), stage))
        return images

    def _noise(self, i: int, n: int, noise: Noise) -> Tensor | None:
        """What the i-th layer adds to n images, up to its strength."""
        if not isinstance(noise, str):
            return noise[i] if noise else None
        if noise == "random":
            return torch.randn(n, 1, *self.noise_sizes[i], device=self.w_mean.device)
        return self.convs[i].fixed_noise if noise == "fixed" else None  # type: ignore[return-value]


class Discriminator(nn.Module):
    """(image [N, C, h, w], or packed, y) -> logit [N]: residual, 2020, Figure 7 (c), unless `residual` is False.

    `group` is that of `minibatch_stddev`, None for none of it; `class_layers` and `rate` are of the mapping that a
    class goes through after its embedding; the rest as `Generator`'s.
    """

    def __init__(
        self, *, classes: int, sizes: list[int], group: int | None, growth: Growth, clamp: float | None = None,
        class_layers: int = 0, rate: float = 1.0, residual: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.growth, self.group, self.top, self.clamp = growth, group, growth.top, clamp
        channels, height, width = growth.shapes[0]
        self.rgbs = nn.ModuleDict({str(k): Conv(channels, sizes[k], 1) for k in growth.entries})
        inputs = [size + growth.appended for size in sizes[:-1]] + [sizes[-1]]
        # The k-th ends at level k.
        self.blocks = nn.ModuleList(
            [Block(inputs[k + 1], sizes[k], clamp=clamp, residual=residual) for k in range(self.top)]
        )
        self.conv = Conv(inputs[0] + (group is not None), sizes[0], 3)
        self.dense = Linear(sizes[0] * height * width, sizes[0])
        self.judge = Linear(sizes[0], sizes[0] if classes else 1)
        self.embed = Embed(classes, sizes[0]) if classes else None
        layers = class_layers if classes else 0
        self.mapping = nn.ModuleList([Linear(sizes[0], sizes[0], rate=rate) for _ in range(layers)])

    def from_image(self) -> list[list[nn.Module]]:
        """Its layers, from the image on: the blocks, the first with what takes images in, and what follows them."""
        blocks: list[list[nn.Module]] = [[block] for block in reversed(self.blocks)]
        blocks[0].append(self.rgbs)
        judging: list[nn.Module] = [self.judge] if self.embed is None else [self.judge, self.embed]
        return [*blocks, [self.conv], [self.dense], judging]

    def forward(self, x: Tensor, y: Tensor | None = None, *, stage: Stage | None = None) -> Tensor:
        stage = stage or self.growth.end
        enter = lambda image, level: activate(self.rgbs[str(level)](image), self.clamp)
        images = self.growth.unpack(x)
        h = enter(images[-1], stage[0])
        for k in reversed(range(stage[0])):
            h = self.blocks[k](h)  # half as high and wide
            h = self.growth.meet(h, k, images, stage, enter)
        if self.group is not None:
            h = style.minibatch_stddev(h, self.group)
        h = activate(self.conv(h), self.clamp)
        with torch.autocast(x.device.type, enabled=False):
            phi = self.judge(activate(self.dense(h.to(x.dtype).flatten(1))))  # [N, 1] or [N, sizes[0]]
            if self.embed is None:
                return phi[:, 0]
            assert y is not None
            v = self.embed(y)  # [N, sizes[0]]
            for layer in self.mapping:
                v = activate(layer(v))
            return (phi * v).sum(1) / math.sqrt(phi.shape[1])  # projection, as in StyleGAN2-ADA


class StyleGANLite(GAN, FromLatents, OfClasses, Truncates, Styles):
    """A style-based generator against a residual discriminator.

    Args:
        image_size: its shorter side a power of two from 16 to 1024, its longer one a multiple of a quarter of that.
        channels: of the images; any.
        classes: the names of the classes, by label; those of the data if the configuration says null.
        conditional: whether G and D are told the class.
        latent_dim, w_dim: the dimensions of z and of w.
        mapping_layers, mapping_rate: of f; its learning rate, relative to G's.
        channel_base, channel_max: a layer has min(channel_base / pixels of the shorter side, channel_max) channels.
        widths: the channels of the layers at each resolution, from 4 pixels on; None: those of the two above.
        clamp: the largest magnitude of what a convolution gives, as StyleGAN2-ADA's conv_clamp; None: any.
        class_layers: of the mapping that a class goes through in D, as StyleGAN2-ADA's, which has 8.
        residual: D has skips; without, it is what StyleGAN2-ADA's authors train with on CIFAR-10.
        noise: whether G's layers take noise.
        mixing: the probability that an image has styles of two latents.
        stddev_group: images in a group of D's minibatch standard deviation; None: D sees no such thing.
        growth: see the header.
        phase_images: of progressive growing: images of each phase, at 4 pixels, fading 8 in, at 8, fading 16 in, ...
        truncation: psi of `generate`; training knows none.
        w_mean_half_life: of the tracked mean of w, in images.
        path_length: settings of the path length's penalty, see `zoo.networks.path_length.PathLength`.
    """

    def __init__(
        self, *, image_size: ImageSize, channels: Count, classes: list[str] | None, conditional: bool,
        latent_dim: Count, w_dim: Count, mapping_layers: Layers, mapping_rate: Positive, channel_base: Count,
        channel_max: Count, noise: bool, mixing: Share, stddev_group: Count | None,
        growth: Literal["none", "progressive", "multi_scale"], phase_images: Count, truncation: Share,
        w_mean_half_life: Positive, path_length: dict[str, Any], widths: list[Count] | None = None,
        clamp: Positive | None = None, class_layers: Blocks = 0, residual: bool = True, **game: Unpack[Game],
    ) -> None:  # fmt: skip
        classes = conditioned_on(classes, conditional)
        super().__init__(**game)
        h, w = sides(image_size)
        n = doublings(h, w, largest=1024)
        shapes = [(channels, h >> k, w >> k) for k in reversed(range(n + 1))]
        progressive = partial(Progressive, phase=phase_images)
        growths: dict[str, Any] = {"none": Growth, "progressive": progressive, "multi_scale": MultiScale}
        self.growth = growths[growth](shapes)
        if self.growth.packed and self.augments:
            raise ValueError(f"model.growth={growth} shows D one image at every resolution: set augment=none")
        self.latent_dim, self.classes = latent_dim, list(classes or [])
        sizes = style.widths(n, base=channel_base, most=channel_max) if widths is None else list(widths)
        if len(sizes) != n + 1:
            raise ValueError(
                f"model.widths={sizes} has {len(sizes)} of the {n + 1} resolutions from 4 pixels to {4 * 2**n}: give "
                "one number of channels for each, or leave it out"
            )
        shape: dict[str, Any] = {"classes": len(self.classes), "sizes": sizes, "growth": self.growth, "clamp": clamp}
        mapping: dict[str, Any] = {"w_dim": w_dim, "layers": mapping_layers, "rate": mapping_rate}
        self.G = Generator(latent_dim=latent_dim, noise=noise, **mapping, **shape)
        self.D = Discriminator(
            group=stddev_group, class_layers=class_layers, rate=mapping_rate, residual=residual, **shape
        )
        self.G_ema = self.average(self.G)
        self.path_length = PathLength(**path_length)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        """Goodfellow et al. 2014, Algorithm 1, with the lazy penalties of arXiv:1912.04958, sections 3.1 and 3.2."""
        x, y = batch.image, batch.label if self.classes else None
        images = len(x) * self.world_size
        stage = self.stage(self.images - images)
        D = lambda image: self.D(image, y, stage=stage)
        z, noise = self.latent(len(x)), self.noise(len(x), stage)
        x = self.growth.shown(x, stage)  # [N, C, h, w], or packed
        mix = self.mix(len(x))
        fake, w = self.G(z, y, mix=mix, noise=noise, stage=stage)

        # Ascend log D(x) + log(1 - D(g(w))); every 16th turn, say, with R1.
        with self.turn("D") as minimize:
            real, generated = self.T(x), self.T(fake.detach())
            logits = self.judge(D(real), D(generated))  # [N] each
            minimize(adversarial=self.loss.discriminator(*logits), **self.penalties(D, real, generated))

        # Ascend log D(g(w)), after each n_critic turns of D; every 4th turn, say, with the path length's penalty.
        if self.due("G"):
            with self.turn("G") as minimize:
                real_logit = D(self.T(x)) if self.loss.paired else None
                adversarial = self.loss.generator(D(self.T(fake)), real_logit)
                minimize(adversarial=adversarial, **self.path_penalty(z, y, mix, noise, stage))

        self.track(w, images)

    def normal(self, n: int, *shape: int) -> Tensor:
        """N(0, 1), [n, *shape], from this rank's stream."""
        return torch.randn(n, *shape, generator=self.rng, device=self.device)

    def noise(self, n: int, stage: Stage) -> list[Tensor]:
        """What each layer of G adds to its pixels, [n, 1, h, w] each; nothing where G takes no noise."""
        if not self.hparams["noise"]:
            return []
        return [self.normal(n, 1, *size) for size in self.G.noise_sizes[: 2 * stage[0] + 1]]

    def mix(self, n: int) -> tuple[Tensor, Tensor] | None:
        """Another latent for each image, and which layers are its: those from a random one on; 2019, section 3.1."""
        if not self.hparams["mixing"]:
            return None
        layers = self.G.num_ws
        happens, where = torch.rand(n, 2, generator=self.rng, device=self.device).unbind(1)  # U[0, 1), [n] each
        first = (1 + where * (layers - 1)).floor()  # 1 to num_ws - 1: the first layer of the other one
        first = torch.where(happens < self.hparams["mixing"], first, layers)
        return self.latent(n), torch.arange(layers, device=self.device) >= first[:, None]

    def path_penalty(
        self, z: Tensor, y: Tensor | None, mix: tuple[Tensor, Tensor] | None, noise: list[Tensor], stage: Stage
    ) -> dict[str, Tensor]:
        """The path length's term of this turn of G, on a part of the batch: a forward of its own, in float32, since the
        other one may be in bfloat16 or compiled; {} where it is not due."""
        if not self.path_length.due(self.turns["G"]):
            return {}
        n = self.path_length.part(len(z))
        with torch.autocast(z.device.type, enabled=False):
            first = None if mix is None else (mix[0][:n], mix[1][:n])
            ws, _ = self.G.mixed(z[:n], None if y is None else y[:n], first)
            g = lambda ws: self.G.synthesize(ws, [layer[:n] for layer in noise], stage=stage)
            lengths = path_lengths(g, ws, normal=self.normal)
            return {"path_length": self.path_length(lengths, mean=self.over_ranks(lengths.mean()))}

    @torch.no_grad()
    def track(self, w: Tensor, images: int) -> None:
        """Move G's mean of w towards that of this step's images, over all ranks: the mean of all so far, until the
        half-life is longer than that."""
        weight = max(1 - 0.5 ** (images / self.hparams["w_mean_half_life"]), images / self.images)
        self.G.w_mean.lerp_(self.over_ranks(w.mean(0)), weight)

    def stage(self, images: int) -> Stage:
        """Where growing is after so many images."""
        return self.growth.stage(images, self.device)

    @property
    def result(self) -> Generator:
        """The averaged generator, or G itself where nothing is averaged."""
        return self.G if self.G_ema is None else self.G_ema.module  # type: ignore[return-value]

    def styles(self, seeds: Tensor | Sequence[int], labels: Tensor | Sequence[int] | None = None) -> Tensor:
        """ws [N, num_ws, w_dim], one w for all layers of each image, not truncated; where there are classes, the
        default is the seed modulo their number."""
        if labels is not None and not self.classes:
            raise ValueError(
                "this model makes images without classes: train with model.conditional=true on labelled data"
            )
        if labels is None and self.classes:
            labels = torch.as_tensor(seeds) % len(self.classes)
        y = None if labels is None else torch.as_tensor(labels, device=self.device)
        return self.styles_of(self.latent_of(seeds), y)

    def styles_of(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """ws [N, num_ws, w_dim] of z [N, latent_dim] and classes, not truncated."""
        return self.result.map(z, labels)[:, None].repeat(1, self.G.num_ws, 1)

    def truncate(self, ws: Tensor, psi: float | Tensor) -> Tensor:
        return self.result.truncate(ws, psi)

    def modulations(self) -> list[Tensor]:
        return self.result.modulations(self.stage(self.images))

    def from_styles(self, ws: Tensor, noise: str = "fixed") -> Tensor:
        """Images [N, C, H, W] of ws [N, num_ws, w_dim], differentiable, so not clamped; for `noise` see `Noise`."""
        stage = self.stage(self.images)
        image = self.result.synthesize(ws, noise, stage=stage)
        return image if stage[0] == self.G.top else F.interpolate(image, scale_factor=2 ** (self.G.top - stage[0]))

    def generate(self, seeds: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.truncated(self.latent_of(seeds), labels_of(self, seeds, labels), self.truncation)

    @property
    def truncation(self) -> float:
        return self.hparams["truncation"]

    def truncated(self, z: Tensor, labels: Tensor | None, psi: float | Tensor) -> Tensor:
        return self.from_styles(self.truncate(self.styles_of(z, labels), psi)).clamp(-1, 1)

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.from_styles(self.styles_of(z, labels))

    def critique(self, batch: LabelledImages) -> dict[str, Tensor]:
        y, stage = batch.label if self.classes else None, self.stage(self.images)
        return {"D": self.D(self.growth.shown(batch.image, stage), y, stage=stage)}
