"""Where fakes lie among reals, by nearest neighbours in the features of an extractor.

precision   Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2: the share of fakes that lie inside the real
recall      manifold, and of reals inside the fake one: within the distance of an image to its k-th neighbour
"""

from torch import Tensor
from torch_fidelity.metric_prc import calculate_precision_recall_part

from zoo.metrics.estimate import Estimate
from zoo.metrics.measure import Measure, Seen, table
from zoo.metrics.metric import Plain


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

    def check_numbers(self, **numbers: int | None) -> None:
        for argument, number in numbers.items():
            if number is not None and number <= self.neighbours:
                raise ValueError(
                    f"{argument}={number}: precision and recall need more than neighbours={self.neighbours} images"
                )

    def settings(self) -> dict[str, Plain]:
        return {"neighbours": self.neighbours}


class PrecisionRecall(Neighbours):
    """Both, by torch-fidelity."""

    def values(self, seen: Seen) -> dict[str, float | Estimate]:
        precision, recall = self._of(table(seen.fake), table(seen.real))
        return {seen.named("precision"): precision, seen.named("recall"): recall}

    def _of(self, fake: Tensor, real: Tensor) -> tuple[float, float]:
        precision, recall = calculate_precision_recall_part(fake, real, self.neighbours)
        return float(precision), float(recall)
