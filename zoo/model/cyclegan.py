"""CycleGAN: Zhu, Park, Isola, Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
ICCV 2017, arXiv:1703.10593.

Symbols
    X, Y       the two domains, of unpaired images x and y
    G          generator, X -> Y
    F          generator, Y -> X
    D_X        discriminator of domain X: x against F(y)
    D_Y        discriminator of domain Y: y against G(x)
    lambda     weight of the cycle consistency; the identity's is a part of it

Players: "G" moves both generators, "D" both discriminators, each by one optimizer, as in the authors' code.

Faithful: the objective, eq. (1) to (3), with least squares in place of the log likelihood (section 4.1) and section
          5.2's identity term; the networks of section 7.2: residual blocks, 6 below 256 pixels and 9 from there on,
          reflection padding, instance normalisation, 70x70 PatchGANs; section 4's training: a history of 50 generated
          images, Adam 2e-4, batches of 1, lambda = 10, D's objective halved, a rate that is constant for the first half
          and falls linearly to 0 in the second. G's turn comes before D's, beta1 = 0.5 and weights from N(0, 0.02), as
          in the authors' code.
Departs:  time is counted in images, not in epochs: an image is a pair of one x and one y. Below 128 pixels D's patches
          are smaller. Reflection pads the residual blocks too, as in the authors' code, not zeros. The identity term
          is left out where X and Y have different numbers of channels. An average of the generators is an option, and
          so are norms with scale and shift, by image ("instance_affine") or by batch ("batch").

Images are normalised one by one, so what goes through the same network shares a pass: translation and identity,
G([x; y]), and real and generated images, D_Y([y; G(x)]). With norm "batch" each has a pass of its own, as in the
authors' code.
"""

from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from zoo.batch import ImagePairs, Preview
from zoo.game.abilities import Translates
from zoo.game.gan import GAN
from zoo.game.history import History
from zoo.game.settings import Blocks, Count, Game, ImageSize, Natural, Weight, sides
from zoo.networks import translators
from zoo.networks.initialisation import init_weights
from zoo.networks.translators import PatchDiscriminator, together


class CycleGAN(GAN, Translates):
    """Two generators that undo each other, between two domains without pairs.

    Args:
        image_size: both sides multiples of 4 for a ResNet, of 8 for a U-Net.
        channels_x, channels_y: of the images of each domain; any.
        generator, width, blocks: of G and F, see `make_generator`.
        norm: of all four networks.
        discriminator_width, discriminator_layers: channels of their first layer; how often they halve the image: 1, 2,
            3 judge patches of 16, 34, 70 pixels, None chooses by size.
        adversarial: weight of the adversarial terms in the generators' objective.
        cycle: lambda, weight of the cycle consistency.
        identity: weight of the identity term, as a part of `cycle`; 0 is off, and so are domains of different channels.
        history: generated images of each domain that are kept for D, on each process; 0: D sees the newest.
    """

    def __init__(
        self, *, image_size: ImageSize, channels_x: Count, channels_y: Count, generator: Literal["resnet", "unet"],
        width: Count, blocks: Blocks | None, discriminator_width: Count, discriminator_layers: int | None,
        adversarial: Weight, cycle: Weight, identity: Weight, history: Natural,
        norm: Literal["instance", "instance_affine", "batch"] = "instance", **game: Unpack[Game],
    ) -> None:  # fmt: skip
        super().__init__(**game)
        size, dropout = sides(image_size), 0.0
        layers = translators.patch_layers(discriminator_layers, size)
        self.adversarial, self.cycle = adversarial, cycle
        self.identity = identity if channels_x == channels_y else 0.0
        self.directions = {"X->Y": channels_x, "Y->X": channels_y}
        self.G = translators.make_generator(generator, size, channels_x, channels_y, width, blocks, norm, dropout)
        self.F = translators.make_generator(generator, size, channels_y, channels_x, width, blocks, norm, dropout)
        self.D_X = PatchDiscriminator(channels_x, discriminator_width, layers, norm)
        self.D_Y = PatchDiscriminator(channels_y, discriminator_width, layers, norm)
        init_weights(self.G, self.F, self.D_X, self.D_Y)
        self.G_ema, self.F_ema = self.average(self.G), self.average(self.F)
        self.history_x, self.history_y = History(history), History(history)
        self.reach = self.G.reach

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D_X, self.D_Y], "G": [self.G, self.F]}

    def varies(self) -> str:
        size = self.history_x.size
        return f"model.history={size} keeps and shows images as Python draws: set it to 0" if size else ""

    def training_step(self, batch: ImagePairs, batch_idx: int) -> None:
        """Eq. (3), in the order of the authors' code: a step of both generators, then one of both discriminators."""
        x, y = batch.x, batch.y  # [N, C_X, H, W], [N, C_Y, H, W]

        # Fool D_Y with G(x) and D_X with F(y), so that each can be undone, before each n_critic turns of D.
        if self.due("G"):
            with self.turn("G") as minimize:
                terms = {}
                if self.identity:  # ||G(y) - y||_1 + ||F(x) - x||_1
                    (fake_y, same_y), (fake_x, same_x) = together(self.G, x, y), together(self.F, y, x)
                    terms["identity"] = self.identity * self.cycle * (l1_loss(same_y, y) + l1_loss(same_x, x))
                else:
                    fake_y, fake_x = self.G(x), self.F(y)
                # ||F(G(x)) - x||_1 + ||G(F(y)) - y||_1, eq. (2)
                terms["cycle"] = self.cycle * (l1_loss(self.F(fake_y), x) + l1_loss(self.G(fake_x), y))
                real_x, real_y = (self.D_X(x), self.D_Y(y)) if self.loss.paired else (None, None)
                fooled = self.loss.generator(self.D_Y(fake_y), real_y) + self.loss.generator(self.D_X(fake_x), real_x)
                minimize(adversarial=self.adversarial * fooled, **terms)
        else:
            with torch.no_grad():
                fake_y, fake_x = self.G(x), self.F(y)

        # Tell x from F(y) and y from G(x), old and new.
        with self.turn("D") as minimize:
            old_x, old_y = self.history_x(fake_x, self.host_rng), self.history_y(fake_y, self.host_rng)
            of_x = self.judge(*together(self.D_X, x, old_x), of="D_X")  # [N, 1, h, w] each
            of_y = self.judge(*together(self.D_Y, y, old_y), of="D_Y")
            minimize(adversarial=self.loss.discriminator(*of_x) + self.loss.discriminator(*of_y))

    def rank_state(self) -> dict[str, Any]:
        histories = {"x": self.history_x, "y": self.history_y}
        return {name: [image.cpu() for image in history.images] for name, history in histories.items()}

    def load_rank_state(self, state: dict[str, Any]) -> None:
        for history, images in ((self.history_x, state["x"]), (self.history_y, state["y"])):
            history.images = [image.to(self.device) for image in images]

    @torch.no_grad()
    def translate(self, images: Tensor, direction: str = "X->Y", tile: int | None = None) -> Tensor:
        translators.check_direction(images, direction, self.directions)
        network, images = self.best(self.G if direction == "X->Y" else self.F), images.to(self.device)
        return translators.at_any_size(network, images, self.G.stride, tile=tile, reach=self.reach).float()

    def critique(self, batch: ImagePairs) -> dict[str, Tensor]:
        return {"D_X": self.D_X(batch.x), "D_Y": self.D_Y(batch.y)}

    def preview(self, batch: ImagePairs) -> dict[str, Preview]:
        """Both translations and both round trips. Panels: input, translation, round trip, and the input's identity."""
        x, y, aligned = batch.x, batch.y, bool(batch.aligned.all())
        of_x = {"label": batch.label_x, "real_label": batch.label_y}
        of_y = {"label": batch.label_y, "real_label": batch.label_x}
        G, F = self.best(self.G), self.best(self.F)
        fake_y, fake_x = G(x), F(y)
        back_x, back_y = F(fake_y), G(fake_x)
        same_x, same_y = ((F(x),), (G(y),)) if x.shape[1] == y.shape[1] else ((), ())
        panel_x, panel_y = (x, fake_y, back_x, *same_x), (y, fake_x, back_y, *same_y)
        return {
            "X->Y": Preview(fake_y, real=y, target=y if aligned else None, panel=panel_x, **of_x),
            "Y->X": Preview(fake_x, real=x, target=x if aligned else None, panel=panel_y, **of_y),
            "X->Y->X": Preview(back_x, target=x),
            "Y->X->Y": Preview(back_y, target=y),
        }
