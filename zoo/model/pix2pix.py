"""pix2pix: Isola, Zhu, Zhou, Efros, "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017,
arXiv:1611.07004.

Symbols
    x      input image
    y      the image that belongs to it
    G      generator, x -> y; its noise z is dropout
    D      discriminator, (x, y) -> logits, one for each patch
    lambda weight of the L1 term

Faithful: eq. (4), the conditional objective of eq. (1), non-saturating, with D's halved, plus 100 times L1, eq. (3); a
          U-Net with skip connections and dropout (sections 3.2.1 and 6.1.1; or a ResNet, as in the authors' later
          code); a 70x70 PatchGAN on x and y joined (section 3.2.2); Adam 2e-4 with betas 0.5 and 0.999, weights from
          N(0, 0.02), batches of 1 (section 3.3 and 6.2). The rate is constant for the first half and falls linearly to
          0 in the second, as in the authors' code.
Departs:  translations are deterministic: G is in evaluation mode, without dropout, which the paper keeps in tests, and
          finds to make minor differences only (section 3.1). Norm "instance" is the default: on batches of 1 the
          paper's BatchNorm, which takes the test batch's statistics in tests too (section 3.3), normalises each image
          by itself, as this does whatever the batch; but this has no scale and shift of each channel, which theirs
          has. "instance_affine" has them, and is what theirs computes on batches of 1; "batch" tests with running
          averages. The number of layers depends on the image's size. An average of G is an option.
"""

from typing import Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from zoo.batch import ImagePairs, Preview
from zoo.game.abilities import Translates
from zoo.game.gan import GAN
from zoo.game.settings import Blocks, Count, Game, ImageSize, Part, Weight, sides
from zoo.networks import translators
from zoo.networks.initialisation import init_weights
from zoo.networks.translators import PatchDiscriminator, together


class Pix2Pix(GAN, Translates):
    """A generator that learns from pairs what an image has to become, and a discriminator that sees both.

    Args:
        image_size: both sides multiples of 8 for a U-Net, of 4 for a ResNet.
        channels_x, channels_y: of the images before and after; any.
        generator, width, blocks, norm, dropout: of G, see `make_generator`.
        discriminator_width, discriminator_layers: channels of D's first layer; how often it halves the image: 1, 2, 3
            judge patches of 16, 34, 70 pixels, None chooses by size.
        l1: lambda, weight of the L1 term.
    """

    aligned = True

    def __init__(
        self, *, image_size: ImageSize, channels_x: Count, channels_y: Count, generator: Literal["resnet", "unet"],
        width: Count, blocks: Blocks | None, norm: Literal["instance", "instance_affine", "batch"],
        dropout: Part, discriminator_width: Count, discriminator_layers: int | None, l1: Weight,
        **game: Unpack[Game],
    ) -> None:  # fmt: skip
        super().__init__(**game)
        size = sides(image_size)
        layers = translators.patch_layers(discriminator_layers, size)
        self.l1, self.directions = l1, {"X->Y": channels_x}
        self.G = translators.make_generator(generator, size, channels_x, channels_y, width, blocks, norm, dropout)
        self.D = PatchDiscriminator(channels_x + channels_y, discriminator_width, layers, norm)
        init_weights(self.G, self.D)
        self.G_ema, self.reach = self.average(self.G), self.G.reach

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def varies(self) -> str:
        return ""

    def training_step(self, batch: ImagePairs, batch_idx: int) -> None:
        """Eq. (4), "alternating between one gradient descent step on D, then one step on G" (section 3.3)."""
        x, y = batch.x, batch.y  # [N, C_X, H, W], [N, C_Y, H, W]
        fake = self.G(x)

        # Ascend log D(x, y) + log(1 - D(x, G(x))), at half the pace.
        with self.turn("D") as minimize:
            logits = self.judge(*self.of_both(x, y, fake.detach()))  # [N, 1, h, w] each
            minimize(adversarial=self.loss.discriminator(*logits) / 2)

        # Ascend log D(x, G(x)), near y, after each n_critic turns of D.
        if self.due("G"):
            with self.turn("G") as minimize:
                real = self.D(torch.cat([x, y], dim=1)) if self.loss.paired else None
                adversarial = self.loss.generator(self.D(torch.cat([x, fake], dim=1)), real)
                minimize(adversarial=adversarial, l1=self.l1 * l1_loss(fake, y))

    def of_both(self, x: Tensor, y: Tensor, fake: Tensor) -> tuple[Tensor, ...]:
        """D's logits [N, 1, h, w] on (x, y) and on (x, fake), in one pass unless BatchNorm would mix the two."""
        pairs = torch.cat([x, y], dim=1), torch.cat([x, fake], dim=1)  # [N, C_X + C_Y, H, W] each
        return together(self.D, *pairs)

    def on_train_start(self) -> None:
        """Dropout draws from torch's own stream: let it differ from rank to rank."""
        torch.manual_seed(self.rng.initial_seed())
        super().on_train_start()  # a resumed run goes on with the states that it had

    @torch.no_grad()
    def translate(self, images: Tensor, direction: str = "X->Y", tile: int | None = None) -> Tensor:
        translators.check_direction(images, direction, self.directions)
        G, images = self.best(self.G), images.to(self.device)
        return translators.at_any_size(G, images, self.G.stride, tile=tile, reach=self.reach).float()

    def critique(self, batch: ImagePairs) -> dict[str, Tensor]:
        return {"D": self.D(torch.cat([batch.x, batch.y], dim=1))}

    def preview(self, batch: ImagePairs) -> dict[str, Preview]:
        """Panels: input, translation, target."""
        x, y, fake = batch.x, batch.y, self.best(self.G)(batch.x)
        preview = Preview(fake, real=y, label=batch.label_x, real_label=batch.label_y, target=y, panel=(x, fake, y))
        return {"X->Y": preview}
