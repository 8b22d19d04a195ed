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
          is left out where X and Y have different numbers of channels. An average of the generators is an option.

Images are normalised one by one, so what goes through the same network shares a pass: translation and identity,
G([x; y]), and real and generated images, D_Y([y; G(x)]).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from zoo.batch import ImagePairs, Preview
from zoo.game import losses
from zoo.game.averages import EMA
from zoo.game.gan import GAN, check_players, linear_decay
from zoo.networks.initialisation import init_weights
from zoo.networks.translators import (
    PatchDiscriminator,
    at_any_size,
    check_direction,
    make_generator,
    patch_layers,
    together,
)


class History:
    """What D is shown in place of the newest images: Shrivastava et al. 2017 (arXiv:1612.07828), section 2.3.

    The first `size` images are kept, and shown. From then on an image is shown itself with probability 1/2; else it
    takes the place of one of those kept, any with the same probability, and that one is shown. 0 shows every image.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []  # [1, C, H, W] each

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images [N, C, H, W], of which no gradient is kept -> [N, C, H, W], one after the other as in batches of 1."""
        if not self.size:
            return images.detach()
        draws = torch.rand(len(images), 2, generator=generator, device=images.device).tolist()
        shown = []
        for image, (coin, place) in zip(images.detach().split(1), draws, strict=True):
            if len(self.images) < self.size:
                self.images.append(image.clone())
                shown.append(image)
            elif coin < 0.5:
                shown.append(image)
            else:
                k = int(place * self.size)
                shown.append(self.images[k])
                self.images[k] = image.clone()
        return torch.cat(shown)


class CycleGAN(GAN):
    """Two generators that undo each other, between two domains without pairs.

    Args:
        image_size: pixels, one number or [height, width]: multiples of 4 for a ResNet, of 8 for a U-Net.
        channels_x, channels_y: of the images of each domain; any.
        generator: "resnet" or "unet".
        width: channels of G's and F's first layer.
        blocks: residual blocks of a ResNet; None: 6 for sides below 256 pixels, 9 from there on.
        discriminator_width: channels of the discriminators' first layer.
        discriminator_layers: how often they halve the image: 1, 2, 3 judge patches of 16, 34, 70 pixels; None: 1 for
            sides below 64 pixels, 2 below 128, else 3.
        adversarial: weight of the adversarial terms in the generators' objective.
        cycle: lambda, weight of the cycle consistency.
        identity: weight of the identity term, as a part of `cycle`; 0 is off, and so are domains of different channels.
        history: generated images of each domain that are kept for D, on each process; 0: D sees the newest.
        lr: Adam's learning rate for each player.
        betas: Adam's.
        clip_norm: the largest norm of a player's gradient in a turn, or None.
        decay_start, decay_end: images from which on the learning rates fall linearly, and at which they are 0;
            decay_start None: half of decay_end, the paper's 100 of 200 epochs.
        ema_half_life: of the generators' averages, in images; None: no average, as in the paper.
        n_critic: turns of D for each turn of G.
        skip_d_above: D skips its turn while its accuracy on the batch, in [0, 1], is above this; None: never.
        loss: the objective's name in zoo/game/losses.py.

    Raises:
        ValueError: for an image size that the networks can't make, with the nearest that they can; for an unknown
            `generator`; for a number out of range.
    """

    def __init__(
        self,
        *,
        image_size: int | list[int],
        channels_x: int,
        channels_y: int,
        generator: str,
        width: int,
        blocks: int | None,
        discriminator_width: int,
        discriminator_layers: int | None,
        adversarial: float,
        cycle: float,
        identity: float,
        history: int,
        lr: dict[str, float],
        betas: list[float],
        clip_norm: float | None,
        decay_start: int | None,
        decay_end: int,
        ema_half_life: float | None,
        n_critic: int,
        skip_d_above: float | None,
        loss: str,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value in {
            "adversarial": adversarial,
            "cycle": cycle,
            "identity": identity,
            "history": history,
        }.items():
            if not value >= 0:
                raise ValueError(f"model.{name}={value} must not be negative; 0 switches it off")
        check_players(self.hparams)
        h, w = (image_size, image_size) if isinstance(image_size, int) else image_size
        layers = patch_layers(discriminator_layers, (h, w))
        of_generators: dict[str, Any] = {
            "generator": generator,
            "size": (h, w),
            "width": width,
            "blocks": blocks,
            "norm": "instance",
            "dropout": 0.0,
        }
        of_discriminators: dict[str, Any] = {"width": discriminator_width, "layers": layers, "norm": "instance"}
        self.loss = losses.named(loss)
        self.identity = identity if channels_x == channels_y else 0.0
        self.G = make_generator(c_in=channels_x, c_out=channels_y, **of_generators)
        self.F = make_generator(c_in=channels_y, c_out=channels_x, **of_generators)
        self.D_X = PatchDiscriminator(channels=channels_x, **of_discriminators)
        self.D_Y = PatchDiscriminator(channels=channels_y, **of_discriminators)
        for network in (self.G, self.F, self.D_X, self.D_Y):
            network.apply(init_weights)
        self.G_ema, self.F_ema = None, None
        if ema_half_life is not None:
            self.G_ema, self.F_ema = EMA(self.G, half_life=ema_half_life), EMA(self.F, half_life=ema_half_life)
        self.history_x, self.history_y = History(history), History(history)

    def players(self) -> dict[str, torch.optim.Optimizer]:
        lr, betas = self.hparams["lr"], tuple(self.hparams["betas"])
        of_D = [*self.D_X.parameters(), *self.D_Y.parameters()]
        of_G = [*self.G.parameters(), *self.F.parameters()]
        return {
            "D": torch.optim.Adam(of_D, lr=lr["D"], betas=betas, fused=True),
            "G": torch.optim.Adam(of_G, lr=lr["G"], betas=betas, fused=True),
        }

    def lr_scale(self, player: str, images: int) -> float:
        start, end = self.hparams["decay_start"], self.hparams["decay_end"]
        return linear_decay(images, end // 2 if start is None else start, end)

    def training_step(self, batch: ImagePairs, batch_idx: int) -> None:
        """Eq. (3), in the order of the authors' code: a step of both generators, then one of both discriminators."""
        x, y = batch.x, batch.y  # [N, C_X, H, W], [N, C_Y, H, W]
        clip_norm, skip_d_above = self.hparams["clip_norm"], self.hparams["skip_d_above"]
        adversarial, cycle = self.hparams["adversarial"], self.hparams["cycle"]

        # Fool D_Y with G(x) and D_X with F(y), so that each can be undone, before each n_critic turns of D.
        if self.turns["D"] % self.hparams["n_critic"] == 0:
            with self.turn("G", clip_norm=clip_norm) as minimize:
                terms = {}
                if self.identity:  # ||G(y) - y||_1 + ||F(x) - x||_1
                    (fake_y, same_y), (fake_x, same_x) = together(self.G, x, y), together(self.F, y, x)
                    terms["identity"] = self.identity * cycle * (l1_loss(same_y, y) + l1_loss(same_x, x))
                else:
                    fake_y, fake_x = self.G(x), self.F(y)
                # ||F(G(x)) - x||_1 + ||G(F(y)) - y||_1, eq. (2)
                terms["cycle"] = cycle * (l1_loss(self.F(fake_y), x) + l1_loss(self.G(fake_x), y))
                real_x, real_y = (self.D_X(x), self.D_Y(y)) if self.loss.paired else (None, None)
                fooled = self.loss.generator(self.D_Y(fake_y), real_y) + self.loss.generator(self.D_X(fake_x), real_x)
                minimize(adversarial=adversarial * fooled, **terms)
        else:
            with torch.no_grad():
                fake_y, fake_x = self.G(x), self.F(y)

        # Tell x from F(y) and y from G(x), old and new, unless D is too strong already.
        with self.turn("D", clip_norm=clip_norm) as minimize:
            real_x, made_x = together(self.D_X, x, self.history_x(fake_x, self.rng))  # [N, 1, h, w] each
            real_y, made_y = together(self.D_Y, y, self.history_y(fake_y, self.rng))
            judgements = {"D_X": self.loss.judgement(real_x, made_x), "D_Y": self.loss.judgement(real_y, made_y)}
            accuracy = torch.stack([j[f"accuracy_{of}"] for j in judgements.values() for of in ("real", "fake")]).mean()
            if skip_d_above is None or self.agreed(accuracy) <= skip_d_above:
                minimize(adversarial=self.loss.discriminator(real_x, made_x) + self.loss.discriminator(real_y, made_y))

        if self.G_ema is not None and self.F_ema is not None:
            self.G_ema.update(self.G, images=len(x) * self.world_size)
            self.F_ema.update(self.F, images=len(x) * self.world_size)
        for name, judgement in judgements.items():
            self.observe(name, judgement)

    def rank_state(self) -> dict[str, Any]:
        histories = {"x": self.history_x, "y": self.history_y}
        return {name: [image.cpu() for image in history.images] for name, history in histories.items()}

    def load_rank_state(self, state: dict[str, Any]) -> None:
        self.history_x.images, self.history_y.images = (
            [image.to(self.device) for image in state[name]] for name in ("x", "y")
        )

    @property
    def generators(self) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """G and F, or their averages where there are any."""
        return self.G_ema or self.G, self.F_ema or self.F

    @torch.no_grad()
    def translate(self, images: Tensor, direction: str = "X->Y") -> Tensor:
        """Images [N, C, H, W] in [-1, 1] of any size, from one domain into the other, float32 [N, C', H, W].

        Raises:
            ValueError: for a direction other than "X->Y" and "Y->X", and for another number of channels.
        """
        check_direction(images, direction, {"X->Y": self.hparams["channels_x"], "Y->X": self.hparams["channels_y"]})
        G, F = self.generators
        return at_any_size(G if direction == "X->Y" else F, images.to(self.device), self.G.stride).float()

    def critique(self, batch: ImagePairs) -> dict[str, Tensor]:
        return {"D_X": self.D_X(batch.x), "D_Y": self.D_Y(batch.y)}

    def preview(self, batch: ImagePairs) -> dict[str, Preview]:
        """Both translations and both round trips. Panels: input, translation, round trip, and the input's identity."""
        x, y, aligned = batch.x, batch.y, bool(batch.aligned.all())
        G, F = self.generators
        fake_y, fake_x = G(x), F(y)
        back_x, back_y = F(fake_y), G(fake_x)
        same_x, same_y = ((F(x),), (G(y),)) if x.shape[1] == y.shape[1] else ((), ())
        return {
            "X->Y": Preview(
                fake_y,
                real=y,
                label=batch.label_x,
                real_label=batch.label_y,
                target=y if aligned else None,
                panel=(x, fake_y, back_x, *same_x),
            ),
            "Y->X": Preview(
                fake_x,
                real=x,
                label=batch.label_y,
                real_label=batch.label_x,
                target=x if aligned else None,
                panel=(y, fake_x, back_y, *same_y),
            ),
            "X->Y->X": Preview(back_x, target=x),
            "Y->X->Y": Preview(back_y, target=y),
        }
