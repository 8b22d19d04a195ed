"""Perceptual path length: Karras et al. 2019, arXiv:1812.04948, section 4.1, eq. (3), at the ends of paths as in 2020,
arXiv:1912.04958, appendix A.

    E[ d(g(lerp(w_1, w_2, t)), g(lerp(w_1, w_2, t + eps))) / eps^2 ],  t = 0, eps = 1e-4

How much the image changes, in features, for a small step in W: low where w moves it smoothly. The paper's d is LPIPS
with VGG16's weights, which have to be downloaded; here it is the squared Euclidean distance between the features of the
data set's extractor, and the value is named after it, `ppl_mnist`: not comparable with any paper's.

Images are not rounded to 8 bits, which would hide so small a step. As in the authors' code, the noise is the same at
both ends, w is not truncated, and the lowest and the highest hundredth of the distances are left out.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.metrics.extractors import Extractor

EPSILON = 1e-4
TRIMMED = 0.01  # of the distances, at each end


@torch.no_grad()
def perceptual_path_length(
    ends: Callable[[Tensor], tuple[Tensor, Tensor]],
    images: Callable[[Tensor], Tensor],
    extractor: Extractor,
    *,
    num: int,
    batch_size: int,
    epsilon: float = EPSILON,
) -> float:
    """The mean over `num` paths.

    Args:
        ends: the numbers of paths, int64 [N] -> where they begin and where they end, in W, [N, ...] each.
        images: w [N, ...] -> [N, C, H, W] in [-1, 1], the same for the same w.
        extractor: of the features.
        batch_size: paths at a time: twice as many images.
        epsilon: the step, as a part of the path.

    Raises:
        ValueError: for no paths; for an extractor that takes 8 bits only.
    """
    if num < 1:
        raise ValueError(f"num={num} paths: give 1 or more")
    extractor.load()
    distances = []
    for paths in torch.arange(num).split(batch_size):
        begin, end = ends(paths)
        both = images(torch.cat([begin, begin.lerp(end, epsilon)]))
        first, second = extractor.smooth(both.clamp(-1, 1)).double().chunk(2)
        distances.append((first - second).square().sum(1) / epsilon**2)
    found = torch.cat(distances)
    low, high = found.quantile(TRIMMED), found.quantile(1 - TRIMMED)
    return found[(found >= low) & (found <= high)].mean().item()
