"""A history of generated images, which keeps D from forgetting: Shrivastava et al. 2017, arXiv:1612.07828."""

import torch
from torch import Tensor


class History:
    """What D is shown in place of the newest images: Shrivastava et al. 2017 (arXiv:1612.07828), section 2.3.

    The first `size` images are kept, and shown. From then on an image is shown itself with probability 1/2; else it
    takes the place of one of those kept, any with the same probability, and that one is shown. 0 shows every image.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []  # [1, C, H, W] each

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images [N, C, H, W], of which no gradient is kept -> [N, C, H, W], one after the other as in batches of 1.

        Args:
            generator: on the CPU: what is drawn decides what Python does.
        """
        if not self.size:
            return images.detach()
        draws = torch.rand(len(images), 2, generator=generator).tolist()
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
