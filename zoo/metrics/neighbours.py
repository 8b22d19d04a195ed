"""Where fakes lie among reals, by nearest neighbours in the features of an extractor.

precision   Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2: the share of fakes that lie inside the real
recall      manifold, and of reals inside the fake one: within the distance R of an image to its k-th neighbour. The
            values are torch-fidelity's. The paper's are on VGG16: metrics=vgg16
density     Naeem et al. 2020, arXiv:2002.09797, section 3: in how many real balls of radius R a fake lies, over k: 1
coverage    where both sides are alike; and the share of real balls with a fake in them. As in the authors' code a ball
            is open, where precision's is closed. k is 5, the paper's choice

Intervals: what is a mean over the images of one side, given the other, has these images' own contributions. An image of
the other side changes radii, its own and its neighbours': no smooth function, so that its contributions are those of
the delete-a-group jackknife (zoo/metrics/estimate.py). A radius without a group is found among the nearest images,
which are kept with their groups, and what lies in which ball is known from one look at the distances. Where a fake and
a real belong together, both leave with their group. The jackknife's variance is never too small on average (Efron and
Stein 1981), and for balls it is too large: in what tests/metrics/test_measures.py draws, intervals are up to twice as
wide as the spread of the values asks for. Where all points are inside, or none, it is Clopper and Pearson's.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_fidelity.metric_prc import calc_cdist_part

from zoo.metrics.estimate import GROUPS, Estimate, as_share, contributions, of_groups
from zoo.metrics.measure import Measure, Seen, table
from zoo.metrics.metric import Plain

K = 5  # of density and coverage
NEAREST = 64  # images of its own side that are kept of each, itself included: about 3 of each group
ROWS = 200  # of a matrix of distances that are looked through at a time


class Near(NamedTuple):
    """The nearest images of the same side, of each of n."""

    nearest: Tensor  # [n, so many] distances in rising order; the first is to itself
    group: Tensor  # [n, so many] of what is so near


def nearest(points: Tensor, kept: int) -> Near:
    """Of images [n, F]."""
    distance, row = calc_cdist_part(points, points).topk(kept, largest=False)
    return Near(distance, row % GROUPS)


class Inside(NamedTuple):
    """How many balls around the n images of one side hold each of m points, and how many points each ball holds."""

    balls: Tensor  # [m] that hold a point
    balls_without: Tensor  # [groups, m] without each group of the images, whose balls grow
    points: Tensor  # [n] in a ball
    points_without: Tensor  # [groups, n] without each group of the points
    points_in_grown: Tensor  # [groups, n] without each group of the images
    points_without_pairs: Tensor  # [groups, n] without each group of both


def inside(side: Near, k: int, distance: Tensor, *, closed: bool) -> Inside:
    """Points in the balls, up to the k-th neighbour, around the images of a side.

    Args:
        side: the images.
        k: neighbours.
        distance: [m, n] between the two.
        closed: whether a ball holds what is exactly as far as the k-th neighbour.
    """
    m, n = distance.shape
    group_of_point, group_of_centre = torch.arange(m) % GROUPS, torch.arange(n) % GROUPS
    of_points, of_centres = (torch.arange(min(GROUPS, number))[:, None] for number in (m, n))
    radius = side.nearest[:, k]
    # Without a group the k-th neighbour is the k-th of those that are left.
    left = (side.group != of_centres[:, :, None]).cumsum(2)  # [groups, n, nearest]
    rank = (left <= k).sum(2).clamp_max(side.nearest.shape[1] - 1)  # of the (k + 1)-th that is left, itself the first
    grown = side.nearest.expand(len(of_centres), -1, -1).gather(2, rank[:, :, None])[:, :, 0]  # [groups, n]
    largest = torch.maximum(radius, grown.amax(0))
    below = torch.le if closed else torch.lt
    counted = Inside(
        torch.zeros(m), torch.zeros(len(of_centres), m), torch.zeros(n), torch.zeros(len(of_points), n),
        torch.zeros(len(of_centres), n), torch.zeros(min(len(of_points), len(of_centres)), n),
    )  # fmt: skip
    for start in range(0, m, ROWS):
        point, centre = below(distance[start : start + ROWS], largest).nonzero(as_tuple=True)
        point = point + start
        far = distance[point, centre]
        whole = below(far, radius[centre]).float()
        without = (below(far, grown[:, centre]) & (group_of_centre[centre] != of_centres)).float()
        other = (group_of_point[point] != of_points).float()
        counted.balls.index_add_(0, point, whole)
        counted.balls_without.index_add_(1, point, without)
        counted.points.index_add_(0, centre, whole)
        counted.points_without.index_add_(1, centre, whole * other)
        counted.points_in_grown.index_add_(1, centre, without)
        both = len(counted.points_without_pairs)
        counted.points_without_pairs.index_add_(1, centre, without[:both] * other[:both])
    return counted


class Neighbours(Measure):
    """Base of what looks at the nearest images.

    Args:
        neighbours: k.

    Raises:
        ValueError: fewer than one neighbour.
    """

    def __init__(self, neighbours: int) -> None:
        if neighbours < 1:
            raise ValueError(f"neighbours={neighbours} must be at least 1")
        self.neighbours = neighbours

    def looked(self, seen: Seen, points: str, centres: str, *, closed: bool) -> Inside:
        """`inside` of "fake" points and "real" balls, say, by what has been found already."""
        rows, side = table(getattr(seen, points)), table(getattr(seen, centres))
        kept = min(max(NEAREST, 4 * self.neighbours), len(side))
        near = seen.once(f"{kept} nearest {centres}", lambda: nearest(side, kept))
        distance = seen.once(f"{points} to {centres}", lambda: calc_cdist_part(rows, side))
        return inside(near, self.neighbours, distance, closed=closed)


class PrecisionRecall(Neighbours):
    """Both, as torch-fidelity has them."""

    signs: Mapping[str, float] = {"precision": 1.0, "recall": 1.0}

    def check_numbers(self, **numbers: int | None) -> None:
        for argument, number in numbers.items():
            if number is not None and number <= self.neighbours:
                raise ValueError(
                    f"{argument}={number}: precision and recall need more than neighbours={self.neighbours} images: "
                    "give more, or measures without them, such as metrics.measures=[fid]"
                )

    def settings(self) -> dict[str, Plain]:
        return {"neighbours": self.neighbours, "precision_recall": "on this extractor; the paper's are on VGG16"}

    def values(self, seen: Seen) -> dict[str, float | Estimate]:
        value, fakes, reals, pairs = self._share(seen, "fake", "real")
        precision = Estimate(value, pairs=pairs) if seen.paired else Estimate(value, fakes=fakes, reals=reals)
        value, reals, fakes, pairs = self._share(seen, "real", "fake")
        recall = Estimate(value, pairs=pairs) if seen.paired else Estimate(value, fakes=fakes, reals=reals)
        precision, recall = as_share(precision, len(seen.fake.table)), as_share(recall, len(seen.real.table))
        return {seen.named("precision"): precision, seen.named("recall"): recall}

    def _share(self, seen: Seen, points: str, centres: str) -> tuple[float, Tensor, Tensor, Tensor]:
        """Of points inside the manifold, with what points, centres, or the groups of both contribute."""
        counts = self.looked(seen, points, centres, closed=True)
        is_in, without = counts.balls > 0, counts.balls_without > 0
        of_centres = of_groups(without.double().mean(1))
        return is_in.float().mean().item(), contributions(is_in.double()), of_centres, of_groups(_of_rest(without))


class DensityCoverage(Neighbours):
    """Both, as the authors' code has them; with `neighbours` images or fewer of a side there are none."""

    signs: Mapping[str, float] = {"density": 1.0, "coverage": 1.0}

    def settings(self) -> dict[str, Plain]:
        return {"density_coverage": f"{self.neighbours} neighbours"}

    def values(self, seen: Seen) -> dict[str, float | Estimate]:
        k = self.neighbours
        if min(len(seen.fake.table), len(seen.real.table)) <= k:
            return {}
        counts = self.looked(seen, "fake", "real", closed=False)
        each, covered = counts.balls.double() / k, (counts.points > 0).double()
        grown, fewer, both = (
            part > 0 for part in (counts.points_in_grown, counts.points_without, counts.points_without_pairs)
        )
        of_density: dict[str, Any]
        of_coverage: dict[str, Any]
        if seen.paired:
            of_density = {"pairs": of_groups(_of_rest(counts.balls_without / k))}
            of_coverage = {"pairs": of_groups(_of_rest(both))}
        else:
            of_density = {
                "fakes": contributions(each), "reals": of_groups(counts.balls_without.double().mean(1) / k)
            }  # fmt: skip
            of_coverage = {"fakes": of_groups(fewer.double().mean(1)), "reals": of_groups(_of_rest(grown))}
        return {
            seen.named("density"): Estimate(float(each.mean()), **of_density, least=0.0),
            seen.named("coverage"): as_share(Estimate(float(covered.mean()), **of_coverage), len(covered)),
        }


def _of_rest(values: Tensor) -> Tensor:
    """The means [groups] of values [groups, n] of the images that are not of the group."""
    rest = torch.arange(values.shape[1]) % GROUPS != torch.arange(len(values))[:, None]
    return (values.double() * rest).sum(1) / rest.sum(1)
