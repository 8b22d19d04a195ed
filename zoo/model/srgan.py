"""SRGAN and SRResNet: Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
Network", CVPR 2017, arXiv:1609.04802.

Symbols
    G       generator, I_LR -> I_SR: SRResNet, residual blocks and sub-pixel convolutions (Figure 4, above)
    D       discriminator, image -> logit: strided convolutions and two dense layers (Figure 4, below)
    I_LR    low-resolution image
    I_HR    high-resolution image, s times as large; s the magnification
    I_SR    super-resolved image, G(I_LR)
    phi     features that the content loss compares

One run has two phases. In the first, up to `pixel_images`, G alone is trained on the pixel error, eq. (4): it then is
SRResNet, of the highest PSNR. From there on the adversarial phase makes it SRGAN, by the perceptual loss of eq. (3):
content plus 1e-3 adversarial. Its PSNR is lower, and its images look better.

content=vgg             eq. (5): squared error of VGG19's features phi_54, after the activation, divided by 12.75
                        (section 3.2). Needs torchvision's weights, 548 MB
content=discriminator   absolute error of all of D's own feature maps, as in pix2pixHD (Wang et al. 2018,
                        arXiv:1711.11585, eq. (4), with the mean over layers), which needs no other network; SRGAN's
                        paper has no such loss
content=pixel           the pixel error: SRGAN-MSE of the paper's Table 1

Faithful: both networks (16 blocks of width 64, PReLU, 9x9 convolutions at both ends, BatchNorm; D's eight convolutions
          and dense layer of 1024); the losses, their weights, Adam with beta1 = 0.9 and 1e-4, then 1e-5 (section 3.2).
Departs:  I_LR is in [-1, 1], where the paper has [0, 1]; G's result is an exponential moving average, G_ema. One D for
          any patch size: its dense layer has the size that the patches give. D's BatchNorm sees I_HR and I_SR in
          separate batches. The learning rate is lowered at image counts; the paper counts updates of 16 patches.
Options:  no BatchNorm and residual scaling (EDSR, Lim et al. 2017, arXiv:1707.02921, sections 3.1 and 3.3; ESRGAN, Wang
          et al. 2018, arXiv:1809.00219, section 3.1); L1 (EDSR, section 3.3); the input, enlarged, added to the output
          (VDSR, Kim et al. 2016, arXiv:1511.04587, section 3.1); ICNR initialisation against checkerboards (Aitken et
          al. 2017, arXiv:1707.02937); relativistic pairing and the other objectives of zoo/game/losses.py.
          network=rrdb: ESRGAN's generator (arXiv:1809.00219, section 3.1), in zoo/networks/rrdb.py. ESRGAN's objective
          is not here: loss=relativistic_pairing is relativistic by pairs, where its section 3.2 has averages, and
          content=vgg compares features after the activation, where its section 3.3 has those before; pixel=l1 is its
          L_1. network=msrresnet is BasicSR's.
          Images in [0, 1] inside G, and a tanh after it: with them the weights of other repositories are of use.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.batch import LowHigh, Preview
from zoo.game.abilities import Upscales
from zoo.game.gan import GAN
from zoo.game.settings import Blocks, Count, Game, Natural, Positive, Weight, Within
from zoo.networks import vgg
from zoo.networks.enlarging import Bound, Enlarging, Range, enlarging_factors
from zoo.networks.initialisation import spectral_normalize
from zoo.networks.rrdb import MSRResNet, RRDBNet

Steps = Annotated[list[Count], Within(lambda steps: steps == sorted(steps), "must rise")]
Factor = Annotated[float, Within(lambda x: 0 < x <= 1, "must be in (0, 1]")]
RANGES: dict[str, Range] = {"srresnet": "signed", "rrdb": "unit", "msrresnet": "unit"}  # as the networks are known


def convolution(c_in: int, c_out: int, *, norm: str, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution, and its BatchNorm where `norm` is "batch"."""
    layer = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=norm != "batch")
    return [layer, nn.BatchNorm2d(c_out)] if norm == "batch" else [layer]


@torch.no_grad()
def init_icnr(layer: nn.Conv2d, factor: int) -> None:
    """Aitken et al. 2017, arXiv:1707.02937, section 3: the filters that make one block of pixels begin alike.

    PixelShuffle takes the factor^2 channels from c * factor^2 on as the block of map c, so that at first the layer
    enlarges by repetition, whatever its input.
    """
    for values in (layer.weight, layer.bias):
        assert values is not None
        values.copy_(values[:: factor**2].repeat_interleave(factor**2, 0))


class ResidualBlock(nn.Module):
    """x + scale * (convolution, normalisation, PReLU, convolution, normalisation)(x): Figure 4."""

    def __init__(self, width: int, *, norm: str, scale: float) -> None:
        super().__init__()
        self.scale = scale
        first, second = (convolution(width, width, norm=norm) for _ in range(2))
        self.body = nn.Sequential(*first, nn.PReLU(), *second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.body(x) if self.scale != 1 else x + self.body(x)


class Generator(Enlarging):
    """SRResNet. I_LR [N, C, h, w] in [-1, 1] -> I_SR [N, C, s*h, s*w], not clipped; any h and w.

    Args:
        channels: C.
        scale: s: 2, 3, 4 or 8; one sub-pixel convolution for each prime factor, two for 4.
        width, blocks: feature maps and residual blocks; 64 and 16 in the paper.
        norm: "batch" or "none".
        residual_scale: on each block's branch.
        skip: "none" as in the paper, or "bilinear": the enlarged input is added to the output.
        icnr: let each sub-pixel convolution begin as an enlargement by repetition, without a checkerboard.
        image_range, bound: see `Enlarging`.
    """

    def __init__(
        self, channels: int, scale: int, width: int, blocks: int, norm: str, residual_scale: Positive, skip: str,
        icnr: bool, image_range: Range = "signed", bound: Bound = "none",
    ) -> None:  # fmt: skip
        super().__init__(image_range=image_range, bound=bound)
        self.scale, self.skip = scale, skip
        self.factors = enlarging_factors(scale)
        self.enter = nn.Sequential(nn.Conv2d(channels, width, 9, padding=4), nn.PReLU())
        residual = [ResidualBlock(width, norm=norm, scale=residual_scale) for _ in range(blocks)]
        self.body = nn.Sequential(*residual, *convolution(width, width, norm=norm))
        layers: list[nn.Module] = []
        for factor in self.factors:
            enlarge = nn.Conv2d(width, factor**2 * width, 3, padding=1)
            if icnr:
                init_icnr(enlarge, factor)
            layers += [enlarge, nn.PixelShuffle(factor), nn.PReLU()]
        self.leave = nn.Sequential(*layers, nn.Conv2d(width, channels, 9, padding=4))

    def features(self, low: Tensor) -> Tensor:
        shallow = self.enter(low)
        return shallow + self.body(shallow)  # [N, width, h, w]

    def picture(self, maps: Tensor, low: Tensor) -> Tensor:
        image = self.leave(maps)  # [N, C, s*h, s*w]
        if self.skip == "none":
            return image
        return image + F.interpolate(low, scale_factor=self.scale, mode="bilinear", align_corners=False)

    @property
    def near(self) -> int:
        *sizes, last = (self.factors[0] ** -k for k in range(len(self.factors) + 1))  # of a pixel of each larger map
        return int(sum(sizes) + 4 * last) + 2  # rounded up, and a pixel for the place within one

    @property
    def reach(self) -> int:
        return 4 + 2 * sum(isinstance(block, ResidualBlock) for block in self.body) + 1 + self.near


class Discriminator(nn.Module):
    """Image [N, C, H, W] -> logit [N]: Figure 4, below. Convolutions halve the resolution four times.

    Args:
        channels, patch_size: C; H and W.
        width: feature maps next to the image; 64 in the paper, doubled with each second convolution up to 8 times.
        dense: of the hidden dense layer; 1024 in the paper.
        norm: "batch" as in the paper, "spectral" (Miyato et al. 2018, arXiv:1802.05957) or "none".
    """

    def __init__(self, channels: int, patch_size: int, width: int, dense: int, norm: str) -> None:
        super().__init__()
        sizes = [channels, *(min(width * 2 ** (k // 2), 8 * width) for k in range(8))]  # 64, 64, 128, 128, ...
        self.layers = nn.ModuleList()
        for k, (c_in, c_out) in enumerate(pairwise(sizes)):
            layer = convolution(c_in, c_out, norm=norm if k else "none", stride=2 if k % 2 else 1)
            self.layers.append(nn.Sequential(*layer, nn.LeakyReLU(0.2)))
        side = -(-patch_size // 16)  # each stride of 2 rounds up
        hidden, last = nn.Linear(sizes[-1] * side**2, dense), nn.Linear(dense, 1)
        self.judge = nn.Sequential(nn.Flatten(), hidden, nn.LeakyReLU(0.2), last, nn.Flatten(0))
        if norm == "spectral":
            spectral_normalize(self)

    def maps(self, image: Tensor) -> list[Tensor]:
        """The feature maps after each convolution's activation; the last one is what `judge` takes."""
        maps = [image]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return maps[1:]

    def forward(self, image: Tensor) -> Tensor:
        return self.judge(self.maps(image)[-1])


class SRGAN(GAN, Upscales):
    """SRResNet, and then SRGAN.

    Args:
        scale: the magnification.
        patch_size: side of the high-resolution patches.
        channels: of the images; any. content=vgg takes 1 or 3.
        width, blocks: of G.
        norm, residual_scale, skip, icnr: of network=srresnet, see `Generator`.
        discriminator_width, discriminator_dense, discriminator_norm: see `Discriminator`.
        pixel: the error of pixels: "mse" as in the paper, or "l1".
        pixel_images: images of the first phase, the pixel error alone: 0 for none of it; max_images for nothing else.
        content: what the content loss compares, see the header.
        vgg_weights: a file of torchvision's VGG19 weights; None: torch.hub's, downloaded if missing.
        weights: of the objective's terms in the adversarial phase: pixel, content and adversarial.
        lr_steps, lr_gamma: images at which each learning rate is multiplied by `lr_gamma`.
        network: G: "srresnet"; "rrdb", ESRGAN's RRDBNet; or "msrresnet", BasicSR's SRResNet without BatchNorm.
        growth, unshuffle: of network=rrdb, see `zoo.networks.rrdb.RRDBNet`.
        image_range: of the images inside G: "signed", [-1, 1], or "unit", [0, 1]; None: signed for srresnet, unit for
            the others.
        bound: of G's output: "none", or "tanh".
        game: n_critic counts in the adversarial phase.
    """

    retired = frozenset({"start"})  # a setting of the run now

    def __init__(
        self, *, scale: Literal[1, 2, 3, 4, 8], patch_size: Count, channels: Count, width: Count, blocks: Blocks,
        norm: Literal["batch", "none"], residual_scale: Positive, skip: Literal["none", "bilinear"], icnr: bool,
        discriminator_width: Count, discriminator_dense: Count,
        discriminator_norm: Literal["batch", "spectral", "none"], pixel: Literal["mse", "l1"], pixel_images: Natural,
        content: Literal["vgg", "discriminator", "pixel"], vgg_weights: str | None, weights: dict[str, Weight],
        lr_steps: Steps, lr_gamma: Factor, network: Literal["srresnet", "rrdb", "msrresnet"] = "srresnet",
        growth: Count = 32, unshuffle: Literal[1, 2, 4] = 1, image_range: Range | None = None, bound: Bound = "none",
        **game: Unpack[Game],
    ) -> None:  # fmt: skip
        super().__init__(**game)
        if patch_size % scale:
            raise ValueError(
                f"model.patch_size={patch_size} is no multiple of model.scale={scale}: set data.patch_size"
            )
        if vgg_weights is not None and content != "vgg":
            raise ValueError(
                f"model.vgg_weights={vgg_weights} has no effect with model.content={content}: set it to vgg"
            )
        if content == "vgg" and channels not in (1, 3):
            raise ValueError(f"model.content=vgg takes images of 1 or 3 channels, not {channels}: use discriminator")
        if content == "vgg" and patch_size < 16:
            raise ValueError(f"model.content=vgg halves patches four times: data.patch_size={patch_size} must be >= 16")
        if unshuffle > 1 and (network != "rrdb" or scale == 3):
            raise ValueError(
                f"model.unshuffle={unshuffle} folds the images of network=rrdb, of a scale of 1, 2, 4 or 8, not of "
                f"network={network} and scale={scale}: set model.unshuffle=1"
            )
        self.scale, self.channels = scale, channels
        self.pixel = F.mse_loss if pixel == "mse" else F.l1_loss
        ends: dict[str, Any] = {"bound": bound, "image_range": image_range or RANGES[network]}
        if network == "srresnet":
            self.G: Enlarging = Generator(channels, scale, width, blocks, norm, residual_scale, skip, icnr, **ends)
        elif network == "msrresnet":
            self.G = MSRResNet(channels, scale, width=width, blocks=blocks, **ends)
        else:
            self.G = RRDBNet(channels, scale, width=width, blocks=blocks, growth=growth, unshuffle=unshuffle, **ends)
        self.D = Discriminator(channels, patch_size, discriminator_width, discriminator_dense, discriminator_norm)
        self.G_ema = self.average(self.G)
        self.phi: list[vgg.VGG] = []  # in a list: no part of the module, of its checkpoints or of its players

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def lr_scale(self, player: str, images: int) -> float:
        steps = sum(images >= step for step in self.hparams["lr_steps"])
        return self.hparams["lr_gamma"] ** steps * super().lr_scale(player, images)

    def phase_at(self, images: int) -> str:
        return "pixel" if images <= self.hparams["pixel_images"] else "adversarial"

    @property
    def goal(self) -> str:
        return "pixels" if self.phase == "pixel" else "perception"

    def varies(self) -> str:
        first = self.hparams["pixel_images"]
        return f"model.pixel_images={first} begins with others than it ends with: set it to 0" if first else ""

    def training_step(self, batch: LowHigh, batch_idx: int) -> None:
        """SRResNet up to `pixel_images`, section 3.2's "MSE-based"; then the game of eq. (2), by the loss of (3)."""
        low, high = batch.low, batch.high  # [N, C, h, w], [N, C, s*h, s*w]
        fake = self.G(low)

        # First phase: descend the pixel error, eq. (4).
        if self.phase == "pixel":
            with self.turn("G") as minimize:
                minimize(pixel=self.pixel(fake, high))
            return

        # Ascend log D(I_HR) + log(1 - D(G(I_LR))), eq. (2).
        with self.turn("D") as minimize:
            logits = self.judge(self.D(high), self.D(fake.detach()))  # [N] each
            minimize(adversarial=self.loss.discriminator(*logits))

        # Descend content + 1e-3 adversarial, eq. (3), after each n_critic turns of D.
        if self.due("G"):
            with self.turn("G") as minimize:
                minimize(**self.perceptual(fake, high))

    def perceptual(self, fake: Tensor, high: Tensor) -> dict[str, Tensor]:
        """Eq. (3), by terms, each with its weight: content, adversarial, and the pixel error where it has a weight."""
        weight, paired = self.hparams["weights"], self.loss.paired
        if self.hparams["content"] == "discriminator":
            maps = self.D.maps(fake)
            logit = self.D.judge(maps[-1])
            with torch.no_grad():
                real_maps = self.D.maps(high)
            real_logit = self.D.judge(real_maps[-1]) if paired else None
            content = torch.stack([F.l1_loss(*pair) for pair in zip(maps, real_maps, strict=True)]).mean()
        else:
            logit, real_logit = self.D(fake), self.D(high) if paired else None
            error = self.vgg_error if self.hparams["content"] == "vgg" else self.pixel
            content = error(fake, high)  # eq. (5) or (4)
        terms = {"content": content, "adversarial": self.loss.generator(logit, real_logit)}  # eq. (6)
        if weight["pixel"]:
            terms["pixel"] = self.pixel(fake, high)
        return {name: weight[name] * term for name, term in terms.items()}

    def vgg_error(self, fake: Tensor, high: Tensor) -> Tensor:
        """Eq. (5) with phi_54."""
        (phi,), scale = self.phi, 1 / 12.75  # of phi's maps: "a scale comparable to MSE loss", section 3.2
        with torch.no_grad():
            target = phi(high)
        return F.mse_loss(scale * phi(fake), scale * target)

    def prepare_data(self) -> None:
        """Fetch VGG19's weights, once a machine, before any time is spent on training."""
        if self.hparams["content"] == "vgg":
            vgg.fetch(self.hparams["vgg_weights"])

    def on_fit_start(self) -> None:
        """Load VGG19."""
        if self.hparams["content"] == "vgg":
            self.phi = [vgg.load(self.hparams["vgg_weights"]).to(self.device).to(memory_format=torch.channels_last)]
        super().on_fit_start()

    def upscale(self, low: Tensor, part: tuple[range, range] | None = None) -> Tensor:
        return self.best(self.G)(low, part).clamp(-1, 1)

    @property
    def reach(self) -> int:
        return self.G.reach

    @property
    def grid(self) -> int:  # type: ignore[override]
        return self.G.grid

    def critique(self, batch: LowHigh) -> dict[str, Tensor]:
        return {"D": self.D(batch.high)}

    def preview(self, batch: LowHigh) -> dict[str, Preview]:
        """Super-resolved images, beside the bicubic enlargement and what they should be."""
        fake = self.upscale(batch.low).float()
        size = batch.high.shape[2:]
        bicubic = F.interpolate(batch.low, size=size, mode="bicubic", antialias=True).clamp(-1, 1)  # a = -0.5
        panel = (bicubic, fake, batch.high)
        return {"samples": Preview(fake=fake, real=batch.high, target=batch.high, panel=panel)}
