"""The Frechet distance of generated images to real ones (zoo/metrics/frechet.py), over all and class by class.

fid             Heusel et al. 2017, arXiv:1706.08500, eq. 6; sums in float64
fid/CLASS       that of a class's fakes to its reals, where both have classes
fid_per_class   their mean ("intra FID": Miyato and Koyama 2018, arXiv:1802.05637, section 4.1). Few images bias it
                upwards (Chong and Forsyth 2020, arXiv:1911.07023): 250 real images of an MNIST digit are 0.61 from
                250 others in fid_mnist, the mean over digits, where 2,500 of all are 0.15 from 2,500 others
                (tests/metrics/test_extractors.py). The protocol's `per_class` says how many images there were
"""

from collections.abc import Sequence

from zoo.metrics.estimate import Estimate, average
from zoo.metrics.frechet import estimate, frechet
from zoo.metrics.measure import Measure, Seen
from zoo.metrics.metric import Plain
from zoo.metrics.side import Side


class FID(Measure):
    """It, with its interval from the images that were drawn."""

    def check_numbers(self, **numbers: int | None) -> None:
        for argument, number in numbers.items():
            if number is not None and number < 2:
                raise ValueError(f"{argument}={number}: a Frechet distance and its interval need two images or more")

    def values(self, seen: Seen) -> dict[str, float | Estimate]:
        real, fake = seen.real, seen.fake
        name, of_all, rows = (
            seen.named(seen.extractor.distance),
            (real.moments(), fake.moments()),
            (real.table, fake.table),
        )
        if not max(map(len, rows)):  # of statistics alone there are no images for an interval
            return {name: frechet(*of_all)}
        return {name: estimate(*of_all, *(table.cpu() for table in rows), paired=seen.paired)}


ROWS = 10  # drawn images of a class on each side, below which its distance is without an interval


def of_classes(name: str, classes: Sequence[str], real: Side, fake: Side) -> dict[str, float | Estimate]:
    """{"fid_per_class": their mean, "fid/CLASS": ...}, of the classes that have enough images; {} where none has."""
    distances = {f"{name}/{classes[group]}": _of_class(group, real, fake) for group in large_enough(real, fake)}
    return {f"{name}_per_class": average(list(distances.values())), **distances} if distances else {}


def _of_class(group: int, real: Side, fake: Side) -> float | Estimate:
    of_all, rows = (real.moments([group]), fake.moments([group])), (real.rows(group), fake.rows(group))
    return estimate(*of_all, *rows) if min(map(len, rows)) >= ROWS else frechet(*of_all)


def large_enough(real: Side, fake: Side) -> list[int]:
    """The groups with the two images on each side without which there is no covariance."""
    return [group for group in range(len(real.count)) if min(real.count[group], fake.count[group]) > 1]


def counts(real: Side, fake: Side) -> Plain:
    """How many images the classes' distances are of, in words."""
    groups = large_enough(real, fake)
    numbers = [(side.name, side.count[groups]) for side in (real, fake)]
    each = [f"{count.min()} to {count.max()} {name}s each" for name, count in numbers]
    return ", ".join([f"{len(groups)} of {len(real.count)} classes", *each])
