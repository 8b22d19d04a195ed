"""FastGAN: Liu, Zhu, Song, Elgammal, "Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image
Synthesis", ICLR 2021, arXiv:2101.04775. Below, "the code" is the authors'.

Symbols
    G      generator, z -> x, and beside it a small image of its features at half the resolution, at most 128 pixels
    D      discriminator, x and its small form -> logits of patches
    z      latent, N(0, I)
    SLE    skip-layer excitation, eq. (1): y = F(x_low) * x_high, channel by channel
    f1, f2 D's maps of 16 and of 8 pixels; G' its decoders, eq. (4)

Faithful: section 3.1: SLE from 4 to 64, 8 to 128, 16 to 256 and 32 to 512 pixels of G, by pooling to 4x4, a convolution
          of 4x4, Swish, one of 1x1 and a sigmoid; gated linear units and BatchNorm after nearest-neighbour enlargement,
          noise in every other resolution, spectral normalisation. Section 3.2: D's two paths, of the image and of its
          small form, residual blocks of two branches whose mean is taken, each excited by the map three halvings
          before, as in the code; and its task beside the game: decoders draw the real image and its small form from
          the last maps, and a random quarter of the image from that quarter of the map of 16 pixels, eq. (4). Hinge
          loss, eq. (2) and (3): `loss`. Augmentation is `augment`, by default color and translation of Zhao et al.
          2020, the code's; the task is to draw what D saw. Adam as in the code, batches of 8.
Departs:  the code draws the hinge's margin from U[0.8, 1]; here it is 1. The code's networks are made for 256 pixels
          and more: here the ends are the same, maps of 8 pixels in both paths, and smaller images have fewer
          resolutions before them, and only the excitations that reach. What is drawn has half the image's resolution,
          at most 128 pixels, where the code's has 128. The code's perceptual distance is LPIPS on VGG16's features;
          `reconstruction=vgg` has the unit-length features of VGG19, layer by layer, without LPIPS's learned weights,
          whose download needs a network. `reconstruction=pixels`, the default, needs none: the absolute difference at
          three resolutions, a stand-in that asks for where things are rather than for their texture. Fixed noise
          makes an image of a latent repeatable. G's initial N(0, 0.02) acts, which the code's spectral normalisation
          takes away. Which quarter is drawn goes round from turn to turn, where the code draws it by
          lot, for a batch too. Both turns use the same z and the same images.
"""

from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.batch import LabelledImages
from zoo.game.abilities import FromLatents
from zoo.game.gan import GAN
from zoo.game.settings import Count, Game, ImageSize, Weight, sides
from zoo.networks import vgg
from zoo.networks.convolutional import doublings
from zoo.networks.initialisation import init_weights, spectral_normalize

END = 8  # pixels of the shorter side of D's last maps
SMALL = 128  # pixels of the shorter side of the small form, at most
SKIP = {64: 4, 128: 8, 256: 16, 512: 32}  # the resolution by which G excites another: Figure 3
DECODED = {16: 4, 32: 2, 64: 2, 128: 1}  # channels of a decoder at each resolution, in units of its width
SETTINGS = {"needs": "model.reconstruction=vgg", "otherwise": "To train without: model.reconstruction=pixels"}


class Excite(nn.Sequential):
    """(x_low [N, c_low, h, w], x_high [N, c_high, H, W]) -> [N, c_high, H, W]: eq. (1)."""

    def __init__(self, c_low: int, c_high: int) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(4),
            nn.Conv2d(c_low, c_high, 4, bias=False),
            nn.SiLU(),
            nn.Conv2d(c_high, c_high, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, low: Tensor, high: Tensor) -> Tensor:  # type: ignore[override]
        return high * super().forward(low)


class Noise(nn.Module):
    """x + w * noise, one w for the layer, 0 at first; the noise [N or 1, 1, H, W] is `fixed` where none is given."""

    fixed: Tensor

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("fixed", torch.randn(1, 1, *size))

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        return x + self.weight * (self.fixed if noise is None else noise).to(x.dtype)


class Unit(nn.Module):
    """[N, c_in, H, W] -> [N, c_out, H, W]: a convolution, noise if its `noisy` size is given, BatchNorm and a gated
    linear unit (Dauphin et al. 2017, arXiv:1612.08083)."""

    def __init__(self, c_in: int, c_out: int, noisy: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, 2 * c_out, 3, padding=1, bias=False)
        self.noise = Noise(noisy) if noisy else None
        self.norm = nn.BatchNorm2d(2 * c_out)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        h = self.conv(x)
        return F.glu(self.norm(h if self.noise is None else self.noise(h, noise)), dim=1)


class Up(nn.Module):
    """[N, c_in, h, w] -> [N, c_out, 2 h, 2 w], by one unit, or by two with noise where its `noisy` size is given."""

    def __init__(self, c_in: int, c_out: int, noisy: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.units = nn.ModuleList([Unit(c_in, c_out, noisy)] + [Unit(c_out, c_out, noisy)] * bool(noisy))

    def forward(self, x: Tensor, noise: list[Tensor] | None = None) -> Tensor:
        x = F.interpolate(x, scale_factor=2)
        for k, unit in enumerate(self.units):
            x = unit(x, None if noise is None else noise[k])
        return x


class Generator(nn.Module):
    """z [N, latent_dim] -> images [N, C, H, W] and [N, C, H / k, W / k] in [-1, 1]: Figures 2 and 3.

    Args:
        latent_dim: of z.
        shape: channels, height and width of the images.
        width: the channels of the map of 128 pixels; others have twice as many at half the resolution, 64 as many as
            32.
    """

    channels_last_on_cpu = False  # measured by benchmarks/layout.py

    def __init__(self, *, latent_dim: int, shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        channels, height, unit = shape[0], shape[1], min(shape[1:]) // 4  # a map of 4 k pixels is k / unit of the image
        size = lambda r: (height * r // (4 * unit), shape[2] * r // (4 * unit))
        self.resolutions = [4 * 2**k for k in range(1, unit.bit_length())]  # 8, 16, ... that of the image
        of = {r: max(width * (64 if r <= 32 else 128) // r, 1) for r in [4, *self.resolutions]}
        self.small = min(SMALL, self.resolutions[-1] // 2)
        self.start = nn.ConvTranspose2d(latent_dim, 2 * of[4], size(4), bias=False)
        self.norm = nn.BatchNorm2d(2 * of[4])
        self.noise_sizes = {str(r): size(r) for r in self.resolutions[::2]}  # 8, 32, 128, 512
        self.ups = nn.ModuleDict(
            {str(r): Up(of[r // 2], of[r], self.noise_sizes.get(str(r))) for r in self.resolutions}
        )
        self.skips = nn.ModuleDict({str(r): Excite(of[SKIP[r]], of[r]) for r in self.resolutions if r in SKIP})
        self.to_small = nn.Conv2d(of[self.small], channels, 1, bias=False)
        self.to_image = nn.Conv2d(of[self.resolutions[-1]], channels, 3, padding=1, bias=False)

    def forward(self, z: Tensor, noise: dict[str, list[Tensor]] | None = None) -> tuple[Tensor, Tensor]:
        """The image and its small form.

        Args:
            noise: what is added at each resolution of `noise_sizes`, two [N, 1, h, w] each; None: always the same.
        """
        maps = {4: F.glu(self.norm(self.start(z[:, :, None, None])), dim=1)}
        for r in self.resolutions:
            maps[r] = self.ups[str(r)](maps[r // 2], None if noise is None else noise.get(str(r)))
            if str(r) in self.skips:
                maps[r] = self.skips[str(r)](maps[SKIP[r]], maps[r])
        image, small = self.to_image(maps[self.resolutions[-1]]), self.to_small(maps[self.small])
        return image.to(z.dtype).tanh(), small.to(z.dtype).tanh()  # float32, under bfloat16 too


def halved(c_in: int, c_out: int) -> list[nn.Module]:
    """[N, c_in, H, W] -> [N, c_out, H / 2, W / 2]."""
    return [nn.Conv2d(c_in, c_out, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]


class Down(nn.Module):
    """[N, c_in, H, W] -> [N, c_out, H / 2, W / 2]: the mean of two convolutions and of one on the averaged map."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        again = [nn.Conv2d(c_out, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]
        self.main = nn.Sequential(*halved(c_in, c_out), *again)
        direct = [nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]
        self.direct = nn.Sequential(nn.AvgPool2d(2), *direct)

    def forward(self, x: Tensor) -> Tensor:
        return (self.main(x) + self.direct(x)) / 2


class Decoder(nn.Sequential):
    """A map [N, c_in, h, w] of END pixels -> image [N, channels, H, W] of `resolution` pixels, in [-1, 1]: G', with
    `width` channels at 128 pixels."""

    def __init__(self, c_in: int, channels: int, *, resolution: int, width: int) -> None:
        layers: list[nn.Module] = []
        for r in (r for r in DECODED if END < r <= resolution):
            layers.append(Up(c_in, c_in := DECODED[r] * width))
        super().__init__(*layers, nn.Conv2d(c_in, channels, 3, padding=1, bias=False), nn.Tanh())


class Discriminator(nn.Module):
    """(image [N, C, H, W], its small form) -> logits [N, patches] of both paths, as many of each.

    Args:
        shape: channels, height and width of the images.
        width: the channels of the image's map of 64 pixels, doubled at half the resolution; the small form's has half
            of that.
        small: pixels of the small form's shorter side.
        decoder_width: of the decoders, at 128 pixels.
    """

    def __init__(self, *, shape: tuple[int, int, int], width: int, small: int, decoder_width: int) -> None:
        super().__init__()
        channels, side = shape[0], min(shape[1:])
        at = lambda r: max(64 * width // r, 1)
        halve = side > 256  # the first convolution then does, as the code's
        first = min(side, 256)
        kernel: dict[str, Any] = {"kernel_size": 4, "stride": 2} if halve else {"kernel_size": 3, "stride": 1}
        self.enter = nn.Sequential(
            nn.Conv2d(channels, at(first), **kernel, padding=1, bias=False), nn.LeakyReLU(0.2)
        )  # fmt: skip
        maps = [first >> k for k in range((first // END).bit_length())]  # 256, 128, ..., 8
        self.downs = nn.ModuleList([Down(at(r), at(r // 2)) for r in maps[:-1]])
        self.skips = nn.ModuleList([Excite(at(r), at(r // 8)) for r in maps[:-3]])
        self.judge = nn.Sequential(
            nn.Conv2d(at(END), 2 * at(END), 1, bias=False), nn.BatchNorm2d(2 * at(END)), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * at(END), 1, 4, bias=False), nn.Flatten(),
        )  # fmt: skip
        half = lambda r: max(32 * width // r, 1)
        path = [nn.Conv2d(channels, half(small // 2), 4, stride=2, padding=1, bias=False), nn.LeakyReLU(0.2)]
        r = small // 2
        while r > END:
            path += halved(half(r), half(r // 2))
            r //= 2
        self.of_small = nn.Sequential(*path)
        self.judge_small = nn.Sequential(nn.Conv2d(half(END), 1, 4, bias=False), nn.Flatten())
        decoder = {"channels": channels, "resolution": small, "width": decoder_width}
        self.decode = Decoder(at(END), **decoder)
        self.decode_part = Decoder(at(2 * END), **decoder)
        self.decode_small = Decoder(half(END), **decoder)

    def from_image(self) -> list[list[nn.Module]]:
        """Its layers, from the image on, the two paths side by side; the decoders go with the last."""
        layers: list[list[nn.Module]] = [[self.enter]]
        layers += [[down] for down in self.downs]
        for skip, layer in zip(self.skips, layers[3:], strict=False):
            layer.append(skip)
        layers[0].append(self.of_small)
        judges: list[nn.Module] = [self.judge, self.judge_small, self.decode, self.decode_part, self.decode_small]
        return [*layers, judges]

    def forward(self, x: Tensor, small: Tensor, part: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """The logits; and with `part`, see `quarter`, what the decoders make of the image, of its small form, and of
        that quarter of the image."""
        maps = [self.enter(x)]
        for k, down in enumerate(self.downs):
            h = down(maps[-1])
            maps.append(self.skips[k - 2](maps[k - 2], h) if k >= 2 else h)  # by the map of three halvings before
        last, of_small = maps[-1], self.of_small(small)
        logits = torch.cat([self.judge(last), self.judge_small(of_small)], dim=1).to(x.dtype)
        if part is None:
            return logits, []
        drawn = [self.decode(last), self.decode_small(of_small), self.decode_part(quarter(maps[-2], part))]
        return logits, [image.to(x.dtype) for image in drawn]


def quarter(x: Tensor, part: Tensor) -> Tensor:
    """That quarter of [N, C, H, W]: `part`, a scalar, is 0 left upper, 1 right upper, 2 left lower, 3 right lower. It
    is a tensor, so that a compiled network has one graph for all."""
    h, w = x.shape[2] // 2, x.shape[3] // 2
    rows = torch.arange(h, device=x.device) + part // 2 * h
    columns = torch.arange(w, device=x.device) + part % 2 * w
    return x.index_select(2, rows).index_select(3, columns)


def reduced(x: Tensor, to: Tensor | tuple[int, int]) -> Tensor:
    """Images [N, C, H, W] averaged down to the size of others."""
    size = to if isinstance(to, tuple) else (to.shape[2], to.shape[3])
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="area")


def pixel_distance(a: Tensor, b: Tensor) -> Tensor:
    """The mean absolute difference, averaged over the resolution of the images, a half and a quarter of it: a scalar
    of images [N, C, H, W]."""
    pyramid = [(F.avg_pool2d(a, k), F.avg_pool2d(b, k)) if k > 1 else (a, b) for k in (1, 2, 4)]
    return torch.stack([(x - y).abs().mean() for x, y in pyramid]).mean()


def feature_distance(network: vgg.VGG, a: Tensor, b: Tensor) -> Tensor:
    """The squared difference of VGG19's features of unit length, averaged over pixels and summed over the last layers
    before each pooling and the last of all: a scalar of images [N, 1 or 3, H, W] in [-1, 1].

    LPIPS (Zhang et al. 2018, arXiv:1801.03924), eq. (1), with w = 1.
    """
    total = a.new_zeros(())
    x, y = network.inputs(a), network.inputs(b)
    layers = list(network.features)
    for layer, after in zip(layers, [*layers[1:], nn.MaxPool2d(2)], strict=True):
        x, y = layer(x), layer(y)
        if isinstance(after, nn.MaxPool2d):
            total = total + (F.normalize(x, eps=1e-10) - F.normalize(y, eps=1e-10)).square().sum(1).mean()
    return total


class FastGAN(GAN, FromLatents):
    """A light generator with skip-layer excitation against a discriminator that learns to draw what it sees.

    Args:
        image_size: its shorter side a power of two from 64 to 512, its longer one a multiple of a quarter of that.
        channels: of the images; any; 1 or 3 with reconstruction=vgg.
        latent_dim: the dimension of z.
        width: G's channels at 128 pixels, see `Generator`.
        discriminator_width: D's channels at 64 pixels; None: `width`.
        decoder_width: of D's decoders, at 128 pixels.
        reconstruction: by what D's drawings are held against what it saw.
        reconstruction_weight: of that beside the hinge; 0 leaves the task out.
        vgg_weights: a local file of torchvision's VGG19; None: its own place, or a download.
    """

    def __init__(
        self, *, image_size: ImageSize, channels: Count, latent_dim: Count, width: Count,
        discriminator_width: Count | None, decoder_width: Count, reconstruction: Literal["pixels", "vgg"],
        reconstruction_weight: Weight, vgg_weights: str | None, **game: Unpack[Game],
    ) -> None:  # fmt: skip
        super().__init__(**game)
        self.refuse_gradient_penalty("another regularizer, such as r1")
        h, w = sides(image_size)
        if min(h, w) < 64:
            raise ValueError(
                f"image_size={h}x{w} does not fit these networks, which begin at 64 pixels: set data.image_size=64, or "
                "use model=dcgan for smaller images"
            )
        doublings(h, w, smallest=64, largest=512)
        if reconstruction == "vgg" and channels not in (1, 3):
            raise ValueError(
                f"model.reconstruction=vgg looks at grey or RGB images, not at {channels} channels: set "
                "model.reconstruction=pixels, or data.channels=3"
            )
        if vgg_weights is not None and reconstruction != "vgg":
            raise ValueError(
                f"model.vgg_weights={vgg_weights} has no effect with "
                f"model.reconstruction={reconstruction}: set it to vgg"
            )
        self.latent_dim, shape = latent_dim, (channels, h, w)
        self.G = Generator(latent_dim=latent_dim, shape=shape, width=width)
        self.D = Discriminator(
            shape=shape, width=discriminator_width or width, small=self.G.small, decoder_width=decoder_width
        )
        init_weights(self.G, self.D)
        spectral_normalize(self.G)
        spectral_normalize(self.D)
        self.G_ema = self.average(self.G)
        self.phi: list[vgg.VGG] = []  # in a list: no part of the module, of its checkpoints or of its players

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        """Goodfellow et al. 2014, Algorithm 1, with eq. (2) to (4)."""
        x = batch.image  # [N, C, H, W]
        fake, small = self.G(self.latent(len(x)), self.noise(len(x)))

        # Descend the hinge on both paths, and the distance of G'(f) from T(x), on real images alone.
        with self.turn("D") as minimize:
            real, generated, generated_small = self.T(x), self.T(fake.detach()), self.T(small.detach())
            of_real, drawn = self.D(real, self.reduced(real), part := self.part())
            logits = self.judge(of_real, self.D(generated, generated_small)[0])  # [N, patches] each
            terms = {"adversarial": self.loss.discriminator(*logits)}
            if part is not None:
                terms["reconstruction"] = self.hparams["reconstruction_weight"] * self.distance(real, drawn, part)
            minimize(**terms, **self.penalties(self.whole, real, generated))

        # Descend -D(G(z)), after each n_critic turns of D.
        if self.due("G"):
            with self.turn("G") as minimize:
                real_logit = self.whole(self.T(x)) if self.loss.paired else None
                minimize(adversarial=self.loss.generator(self.D(self.T(fake), self.T(small))[0], real_logit))

    def prepare_data(self) -> None:
        """Fetch VGG19's weights, once a machine, before any time is spent on training."""
        if self.looks_at_features:
            vgg.fetch(self.hparams["vgg_weights"], **SETTINGS)

    def on_fit_start(self) -> None:
        """Load VGG19."""
        if self.looks_at_features:
            network = vgg.load(self.hparams["vgg_weights"], **SETTINGS)
            self.phi = [network.to(self.device).to(memory_format=torch.channels_last)]
        super().on_fit_start()

    @property
    def looks_at_features(self) -> bool:
        return bool(self.hparams["reconstruction"] == "vgg" and self.hparams["reconstruction_weight"])

    def part(self) -> Tensor | None:
        """Which quarter of the images D is to draw in this turn, a scalar: one after the other; None: it draws none."""
        if not self.hparams["reconstruction_weight"]:
            return None
        return torch.full((), self.turns["D"] % 4, device=self.device)

    def distance(self, real: Tensor, drawn: list[Tensor], part: Tensor) -> Tensor:
        """Of what D drew from what it saw, a scalar: the sum over image, small form and quarter, eq. (4)."""
        pairs = zip(drawn, (real, real, quarter(real, part)), strict=True)
        return sum((self.apart(image, reduced(seen, image)) for image, seen in pairs), start=real.new_zeros(()))

    def apart(self, a: Tensor, b: Tensor) -> Tensor:
        """The distance of images [N, C, h, w] that `reconstruction` names."""
        if not self.phi:
            return pixel_distance(a, b)
        with torch.autocast(a.device.type, enabled=False):
            return feature_distance(self.phi[0], a, b)

    def whole(self, image: Tensor) -> Tensor:
        """D's logits [N, patches] of images [N, C, H, W] whose small form is made of them."""
        return self.D(image, self.reduced(image))[0]

    def reduced(self, image: Tensor) -> Tensor:
        """The small form of images [N, C, H, W]."""
        h, w = image.shape[2:]
        small, side = self.G.small, min(h, w)
        return reduced(image, (h * small // side, w * small // side))

    def noise(self, n: int) -> dict[str, list[Tensor]]:
        """What G adds to its maps, from this rank's stream."""
        draw = lambda size: torch.randn(n, 1, *size, generator=self.rng, device=self.device)
        return {r: [draw(size), draw(size)] for r, size in self.G.noise_sizes.items()}

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.best(self.G)(z)[0]

    def critique(self, batch: LabelledImages) -> dict[str, Tensor]:
        return {"D": self.whole(batch.image)}
