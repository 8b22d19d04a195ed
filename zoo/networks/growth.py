"""What differs between networks of several resolutions: how G's make an image together, and how D takes images in.

A level is a resolution: level 0 has 4 pixels on the shorter side, each further one twice as many, and `top` is that of
the image. A stage is where training is: how far the networks have grown.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from zoo.networks.convolutional import Shape
from zoo.networks.style import up2

Stage = tuple[int, Tensor | None]  # the newest level, and its weight in [0, 1] while it is faded in
Enter = Callable[[Tensor, int], Tensor]  # an image and its level -> its features in D


class Growth:
    """StyleGAN2's, Karras et al. 2020, arXiv:1912.04958, Figure 7: G's image is the sum of what each level contributes,
    D sees the image alone, and all levels are trained from the beginning on. What a paper has otherwise, its subclass
    says.

    Args:
        shapes: of the image at each level, from the start on.
    """

    packed = False  # whether what D sees are images of several sizes in one tensor [N, pixels]

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self.shapes, self.top = shapes, len(shapes) - 1
        self.end: Stage = self.top, None  # of training
        self.entries = [self.top]  # the levels at which an image may enter D
        self.appended = 0  # channels that come to D's features at each level below the top

    def stage(self, images: int, device: torch.device) -> Stage:
        """Where training is after so many images."""
        return self.end

    def shown(self, real: Tensor, stage: Stage) -> Tensor:
        """Real images [N, C, H, W] as D is to see them at this stage, in place of G's."""
        return real

    def contributing(self, stage: Stage) -> range:
        """The levels whose contributions the image is made of."""
        return range(self.top + 1)

    def seen(self, stage: Stage) -> range:
        """The levels whose contributions D is to see something of."""
        return self.contributing(stage)

    def join(self, images: list[Tensor], contribution: Tensor, stage: Stage) -> Tensor:
        """The image [N, C, h, w] at a level, of what the level contributes and of the images below, which may be none,
        from the smallest on."""
        return up2(images[-1]) + contribution if images else contribution

    def pack(self, images: list[Tensor]) -> Tensor:
        """What D is to see of G's images, from the smallest on."""
        return images[-1]

    def unpack(self, x: Tensor) -> list[Tensor]:
        """The images of what D sees, from the smallest on; the last one enters at the stage's level."""
        return [x]

    def meet(self, h: Tensor, level: int, images: list[Tensor], stage: Stage, enter: Enter) -> Tensor:
        """D's features h [N, C, h, w] at a level below the stage's, with what comes to them there: of the `images` of
        `unpack`, each of which `enter` takes in at a level."""
        return h
