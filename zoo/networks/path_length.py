"""Path length regularisation of a style-based generator: Karras et al. 2020, arXiv:1912.04958, section 3.2.

Faithful to the code of StyleGAN2-ADA: styles are mixed in the images that are looked at, as in all that G makes in
training, and `a`, in which the newest lengths have a part, is differentiated with them.
Departs:  the images are the first of the turn's own, with their z and noise, where theirs draw others; with N processes
          `a` is that of all ranks' lengths, where each of theirs has its own; and the term is a part of the turn's one
          step, see zoo/model/stylegan_lite.py.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def path_lengths(g: Callable[[Tensor], Tensor], ws: Tensor, *, normal: Callable[..., Tensor]) -> Tensor:
    """||J_w^T y|| of each image, [N], with J_w = dg(w) / dw.

    How far w moves the image g(w) in a random direction y ~ N(0, I), divided by the square root of the pixels so that
    lengths do not depend on the resolution. J_w^T y = grad_w (g(w) . y); the square is the mean over the layers' w, as
    in the authors' code.

    Args:
        g: ws [N, layers, w_dim] -> images [N, C, H, W].
        ws: of the images; what they depend on gets gradients too.
        normal: shape -> y, of this rank's own stream.
    """
    images = g(ws)
    y = normal(*images.shape) / math.sqrt(images.shape[2] * images.shape[3])
    pulled = torch.autograd.grad((images * y).sum(), ws, create_graph=True)[0]  # [N, layers, w_dim]
    return pulled.square().sum(2).mean(1).sqrt()


class PathLength(nn.Module):
    """E[(||J_w^T y|| - a)^2], eq. (4), as a term of G's objective; `a`, the lengths' moving average up to the present
    ones, is a part of the state. Lazy (section 3.1): computed in G's turns 1, 1 + every, ... and multiplied by `every`
    there.

    Args:
        weight: of the term; 0 is off.
        every: G's turns from one computation to the next.
        shrink: 1 / shrink of the batch is looked at.
        decay: how far `a` moves to the newest mean length.

    Raises:
        ValueError: for a number out of its range.
    """

    a: Tensor  # scalar

    def __init__(self, *, weight: float, every: int, shrink: int, decay: float) -> None:
        super().__init__()
        if not weight >= 0:
            raise ValueError(f"model.path_length.weight={weight} must not be negative; 0 switches it off")
        for name, value in {"every": every, "shrink": shrink}.items():
            if value < 1 or value != int(value):
                raise ValueError(f"model.path_length.{name}={value} must be a whole number from 1")
        if not 0 < decay <= 1:
            raise ValueError(f"model.path_length.decay={decay} must be in (0, 1]")
        self.weight, self.every, self.shrink, self.decay = weight, every, shrink, decay
        self.register_buffer("a", torch.zeros(()))

    def due(self, turn: int) -> bool:
        """Whether G's turn so far, the first being 1, has the term."""
        return self.weight > 0 and (turn - 1) % self.every == 0

    def part(self, n: int) -> int:
        """How many of a batch of n images are looked at."""
        return -(-n // self.shrink)

    def forward(self, lengths: Tensor, *, mean: Tensor) -> Tensor:
        """weight * every * penalty, a scalar, of `path_lengths` and of their mean over all ranks.

        With m the mean of all lengths l and a = (1 - decay) a_before + decay m, the derivative of E[(l - a)^2] is
        2 E[(l - a) dl] - 2 decay (m - a) dm: its second part is written out, with this rank's mean for m in dm, so that
        the mean of all ranks' derivatives is that of one process.
        """
        with torch.no_grad():
            self.a += self.decay * (mean - self.a)
        own = lengths.mean()
        of_a = 2 * self.decay * (mean - self.a) * (own - own.detach())  # 0, but for its derivative
        return self.weight * self.every * ((lengths - self.a).square().mean() - of_a)
