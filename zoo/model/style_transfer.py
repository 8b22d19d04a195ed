"""Style transfer in one pass: Johnson, Alahi, Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and
Super-Resolution", ECCV 2016, arXiv:1603.08155.

Symbols
    x        image
    f_W      image transformation network, x -> y; here G
    y_s      style image, one for each network
    phi      features of a network that was trained to classify; phi_j its layer j
    lambda_c, lambda_s, lambda_TV   weights of content, style and total variation

A game of one player: G descends lambda_c l_feat(G(x), x) + lambda_s l_style(G(x), y_s) + lambda_TV l_TV(G(x)),
eq. (5) with y_c = x, and nobody judges. The losses are those of `zoo stylize`: zoo/networks/perceptual.py.

Faithful: the network of the supplement's Table 1 (9x9 convolutions at both ends, two of stride 2, five residual blocks
          without an activation behind the sum, tanh); content by relu2_2, style by relu1_2, relu2_2, relu3_3 and
          relu4_3 of VGG16 (section 4.1: features=vgg16); Adam with 1e-3, batches of 4, 256x256 (section 4.1).
Departs:  each layer's error is in units of what the style image makes of it, so that the weights mean the same in every
          network: the paper's constants are absorbed. By default features are those of the classifier that this package
          ships. Instance normalisation in place of BatchNorm (Ulyanov et al. 2016, arXiv:1607.08022; norm=batch is the
          paper's). Each convolution mirrors its border, where the paper mirrors 40 pixels around the image and lets the
          residual blocks take them away again. Images are enlarged by repetition before a convolution against
          checkerboards (Odena et al. 2016, doi:10.23915/distill.00003); upsampling=transposed is the paper's.
"""

from itertools import pairwise
from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from zoo.batch import LabelledImages, Preview
from zoo.game.abilities import Translates
from zoo.game.gan import GAN
from zoo.game.settings import Blocks, Count, Game, ImageSize, Weight, sides
from zoo.networks import perceptual, translators
from zoo.networks.perceptual import JOHNSON, StyleTarget, total_variation
from zoo.networks.translators import ResidualBlock, unit

SETTINGS = {"setting": "model.vgg_weights", "choice": "model.features"}  # as sentences name them
LEAST_CONTRAST, LEAST_SIDE = 1 / 255, 32  # deviation of the style's channels in [-1, 1]; pixels


class Generator(nn.Sequential):
    """Image [N, C, H, W] -> image [N, C, H, W] in [-1, 1], H and W multiples of 4, from 8 on.

    Args:
        channels: C.
        width: feature maps at the image; 32 in the paper, doubled with each halving.
        blocks: residual ones; 5 in the paper.
        norm, upsampling: see `StyleTransfer`.
    """

    stride = 4

    def __init__(self, channels: int, width: int, blocks: int, norm: str, upsampling: str) -> None:
        sizes = [width, 2 * width, 4 * width]
        layers = [nn.ReflectionPad2d(4), *unit(nn.Conv2d(channels, width, 9, bias=False), norm)]
        for c_in, c_out in pairwise(sizes):
            layers += [nn.ReflectionPad2d(1), *unit(nn.Conv2d(c_in, c_out, 3, stride=2, bias=False), norm)]
        layers += [ResidualBlock(4 * width, norm=norm) for _ in range(blocks)]
        for c_in, c_out in pairwise(reversed(sizes)):
            if upsampling == "nearest":
                enlarge = [nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1)]
                layers += [*enlarge, *unit(nn.Conv2d(c_in, c_out, 3, bias=False), norm)]
            else:
                up = nn.ConvTranspose2d(c_in, c_out, 3, stride=2, padding=1, output_padding=1, bias=False)
                layers += unit(up, norm)
        super().__init__(*layers, nn.ReflectionPad2d(4), nn.Conv2d(width, channels, 9), nn.Tanh())
        # 4 of the 9x9 convolutions at either end, 1 of each other one, in pixels of 1, 2 or 4; a multiple of the stride
        self.reach = (4 + 1 + 2) + 8 * blocks + (4 + 2 + 4) + 3 if norm == "batch" else None


class StyleTransfer(GAN, Translates):
    """A network that paints any image in the one style that it was trained for.

    Args:
        image_size: of the training images; any side from 8 on, and no less than what `features` see at once.
        channels: of the images, 1 or 3.
        style_file: the style image: a file, or the name of a photograph that comes with zoo. Needed to train alone.
        style_size: pixels of the style image's shorter side when it is looked at; None: as it is.
        width, blocks: of G.
        norm: "instance", with or without ("instance_affine") scales and shifts, or the paper's "batch".
        upsampling: "nearest", or the paper's "transposed" convolutions.
        features: phi, whose name the losses carry.
        vgg_weights: a file of VGG's weights; None: torch.hub's, downloaded if missing.
        weights: lambda of content, style and total_variation.
    """

    rows = LabelledImages

    def __init__(
        self, *, image_size: ImageSize, channels: Count, style_file: str | None, style_size: Count | None, width: Count,
        blocks: Blocks, norm: Literal["instance", "instance_affine", "batch"],
        upsampling: Literal["nearest", "transposed"],
        features: Literal["cifar10_classifier", "vgg16", "vgg19"], vgg_weights: str | None, weights: dict[str, Weight],
        **game: Unpack[Game],
    ) -> None:  # fmt: skip
        super().__init__(**game)
        if channels not in (1, 3):
            raise ValueError(f"model.features takes images of 1 or 3 channels, not {channels}: set data.channels=3")
        if unknown := weights.keys() ^ {"content", "style", "total_variation"}:
            raise ValueError(f"model.weights are content, style, total_variation: {min(unknown)} is wrong or missing")
        if not weights["style"]:
            raise ValueError("model.weights.style=0 leaves no style to learn: raise it")
        least = max(perceptual.least_side(features, JOHNSON[features]), translators.LEAST)
        if min(sides(image_size)) < least:
            height, width_ = sides(image_size)
            raise ValueError(
                f"image_size={height}x{width_} is less than the {least} pixels a side that model.features={features} "
                f"sees at once: set data.image_size={least} or more"
            )
        if vgg_weights is not None and features == perceptual.CLASSIFIER:
            raise ValueError(
                f"model.vgg_weights={vgg_weights} has no effect with model.features={features}: name vgg16 or vgg19"
            )
        self.directions = {"X->Y": channels}
        self.G = Generator(channels, width, blocks, norm, upsampling)
        self.G_ema, self.reach = self.average(self.G), self.G.reach
        self.target: list[StyleTarget] = []  # in a list: no part of the module, of its checkpoints or of its players

    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G]}

    def varies(self) -> str:
        return ""

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        """Section 3: descend eq. (5), content and style of G(x) by the features of a network that stays as it is."""
        x, (target,), weight = batch.image, self.target, self.hparams["weights"]
        y = translators.at_any_size(self.G, x, self.G.stride)

        with self.turn("G") as minimize:
            with torch.autocast(x.device.type, enabled=False):  # sums over all places of a map
                y = y.to(x.dtype)
                content, style = target.terms(y, x)
                smooth = total_variation(y)
            name = self.hparams["features"]  # no value of theirs is comparable with another network's
            minimize(
                **{
                    f"content_{name}": weight["content"] * content,
                    f"style_{name}": weight["style"] * style,
                    "total_variation": weight["total_variation"] * smooth,
                }
            )

    def prepare_data(self) -> None:
        """Fetch the features' weights, once a machine, and look at the style, before any time is spent on training."""
        perceptual.fetch(self.hparams["features"], self.hparams["vgg_weights"], **SETTINGS)
        self.style()

    def style(self) -> Tensor:
        """The style image, [1, C, h, w] in [-1, 1].

        Raises:
            ValueError: if there is none, or it is of one colour or too small to have a style.
        """
        file, size = self.hparams["style_file"], self.hparams["style_size"]
        if file is None:
            raise ValueError(
                "model.style_file is not set: name the picture whose style is learnt, model.style_file=FILE"
            )
        image = self.trainer.datamodule.picture(file, self.directions["X->Y"])  # type: ignore[attr-defined]
        height, width = image.shape[2:]
        if min(height, width) < LEAST_SIDE:
            raise ValueError(
                f"model.style_file={file} has {width}x{height} pixels, too few to have a style: give a picture of "
                f"{LEAST_SIDE} a side or more"
            )
        if image.std(dim=(2, 3)).max() < LEAST_CONTRAST:
            raise ValueError(
                f"model.style_file={file} is of one colour, which is no style: give a picture with some structure"
            )
        if size is not None:
            scale = max(size, LEAST_SIDE) / min(height, width)
            shape = round(height * scale), round(width * scale)
            image = nn.functional.interpolate(image, shape, mode="bicubic", antialias=True).clamp(-1, 1)
        return image

    def on_fit_start(self) -> None:
        """Look at the style image."""
        features = perceptual.load(self.hparams["features"], self.hparams["vgg_weights"], **SETTINGS)
        features = features.to(self.device, next(self.G.parameters()).dtype).to(memory_format=torch.channels_last)
        self.target = [StyleTarget(features, JOHNSON[features.name], [self.style().to(features.mean)])]
        super().on_fit_start()

    @torch.no_grad()
    def translate(self, images: Tensor, direction: str = "X->Y", tile: int | None = None) -> Tensor:
        translators.check_direction(images, direction, self.directions)
        G, images = self.best(self.G), images.to(self.device)
        return translators.at_any_size(G, images, self.G.stride, tile=tile, reach=self.reach).float()

    def preview(self, batch: LabelledImages) -> dict[str, Preview]:
        """Panels: image, in the style."""
        x, fake = batch.image, self.translate(batch.image)
        return {"X->Y": Preview(fake, real=x, panel=(x, fake))}
