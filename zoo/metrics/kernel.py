"""Distances of two sets of features by a kernel: the squared maximum mean discrepancy (Gretton et al. 2012, JMLR 13).

    kid     Binkowski et al. 2018, arXiv:1801.01401, section 4: k(x, y) = (x . y / F + 1)^3 of F features, unbiased:

                1 / (m (m - 1)) sum_(i != j) k(x_i, x_j) + 1 / (n (n - 1)) sum_(i != j) k(y_i, y_j)
                    - 2 / (m n) sum_(i, j) k(x_i, y_j)

            It is below 0 half of the time where both sides are alike. Papers print it times 1,000 (or 100)
    cmmd    Jayasumana et al. 2024, arXiv:2401.09603, section 4: on CLIP's embeddings of length 1, k(x, y) =
            exp(-|x - y|^2 / (2 sigma^2)) with sigma = 10, times 1,000. As in the authors' code the sums are over all
            pairs, i = j included, which biases it upwards, by less than 0.01 x 1,000 / m

The papers' code and torch-fidelity average the KID of subsets, 100 of 1,000 images. Ours is one U-statistic of all the
images that were drawn. Each pair of images is as likely as any other to be in a subset, so that their mean over all
possible subsets is ours: it has the same expectation, and their draw adds nothing but noise.

What an image contributes is its projection: the mean of its kernel with the others of its side less that with the other
side, twice. Where both sides are alike the projections vanish but for their noise, and what is left of the variance is
at most twice too large (Efron and Stein 1981, Annals of Statistics 9): near 0 intervals are wide rather than narrow.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from zoo.metrics.estimate import Estimate, contributions
from zoo.metrics.extractors import Extractor
from zoo.metrics.measure import Measure, Seen, table
from zoo.metrics.metric import Plain

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]  # [a, F], [b, F], where to put it [a, b] -> [a, b]

ROWS = 100  # of a kernel's matrix at a time: 4 MB against 5,000 images
SIGMA, TIMES = 10.0, 1000.0  # of CMMD


def cubic(x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    """(x . y / F + 1)^3"""
    return torch.mm(x, y.T, out=out).div_(x.shape[1]).add_(1).pow_(3)


def gaussian(x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    """exp(-|x - y|^2 / (2 sigma^2)), times 1,000"""
    torch.mm(x, y.T, out=out).mul_(-2).add_(x.square().sum(1, keepdim=True)).add_(y.square().sum(1))
    return out.clamp_min_(0).div_(-2 * SIGMA**2).exp_().mul_(TIMES)


def mmd(fake: Tensor, real: Tensor, kernel: Kernel, *, unbiased: bool = True, paired: bool = False) -> Estimate:
    """The squared discrepancy of features [m, F] and [n, F], float64, with what images contribute to it.

    Args:
        kernel: of two sets.
        unbiased: leave out each image's kernel with itself.
        paired: whether a fake and a real of one row belong together.
    """
    m, n = len(fake), len(real)
    room = fake.new_empty(ROWS * max(m, n))  # fresh memory for each matrix would cost more than what fills it

    def between(x: Tensor, y: Tensor) -> Tensor:
        return kernel(x, y, room[: len(x) * len(y)].view(len(x), len(y)))

    def within(side: Tensor, rows: Tensor) -> Tensor:
        """The sums of the kernels of some rows with their own side."""
        matrix = between(side[rows], side)
        return matrix.sum(1) - unbiased * matrix[torch.arange(len(rows)), rows]

    own, across = torch.zeros(m).double(), torch.zeros(m).double()  # sums of each fake's kernels with fakes, reals
    of_reals, back = torch.zeros(n).double(), torch.zeros(n).double()
    for rows in torch.arange(m).split(ROWS):
        own[rows] = within(fake, rows) / (m - unbiased)
        matrix = between(fake[rows], real)
        across[rows], back = matrix.sum(1), back + matrix.sum(0)
    for rows in torch.arange(n).split(ROWS):
        of_reals[rows] = within(real, rows) / (n - unbiased)
    value = float(own.mean() + of_reals.mean() - 2 * across.mean() / n)
    fakes, reals = contributions(2 * (own - across / n)), contributions(2 * (of_reals - back / m))
    return Estimate(value, pairs=fakes + reals) if paired and m == n else Estimate(value, fakes=fakes, reals=reals)


class KID(Measure):
    """The kernel (Inception) distance, of the images that were drawn; with one image of a side there is none."""

    headline = "kid"
    signs: Mapping[str, float] = {"kid": -1.0}

    def values(self, seen: Seen) -> dict[str, float | Estimate]:
        fake, real = table(seen.fake), table(seen.real)
        if min(len(fake), len(real)) < 2:
            return {}
        return {seen.named("kid"): mmd(fake, real, cubic, paired=seen.paired)}

    def settings(self) -> dict[str, Plain]:
        return {"kid": "unbiased, (x.y / F + 1)^3, over all images that were drawn"}


class CMMD(Measure):
    """CLIP's maximum mean discrepancy: of an extractor whose features are an embedding."""

    headline, lacks = "cmmd", "whose features are an embedding, such as metrics=clip"
    signs: Mapping[str, float] = {"cmmd": -1.0}

    def fits(self, extractor: Extractor) -> bool:
        return extractor.embeds

    def values(self, seen: Seen) -> dict[str, float | Estimate]:
        fake, real = (normalize(table(side)) for side in (seen.fake, seen.real))
        return {seen.named("cmmd"): mmd(fake, real, gaussian, unbiased=False, paired=seen.paired)}

    def settings(self) -> dict[str, Plain]:
        return {"cmmd": "Gaussian of sigma 10, times 1,000, over all images that were drawn"}
