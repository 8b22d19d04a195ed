"""The usual evaluation of generated images: what they are like, what they show and what they should be.

Fakes are compared with real ones as distributions (zoo/metrics/distribution.py), and where it is known what a fake
should be, pixel by pixel (zoo/metrics/pixels.py): as far as a preview has the fields for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from zoo.metrics.distribution import DEFAULT, Distribution
from zoo.metrics.evaluator import Evaluator
from zoo.metrics.extractors import Extractor
from zoo.metrics.metric import Data, Metric, Plain
from zoo.metrics.pixels import PixelErrors


@dataclass(kw_only=True, eq=False)
class Evaluation(Evaluator):
    """A `Distribution`, which explains the settings below, and `PixelErrors`."""

    metrics: list[Metric] = field(init=False)
    extractor: Extractor
    neighbours: int
    prc_images: int
    per_class: bool
    measures: Sequence[str] = DEFAULT

    def __post_init__(self) -> None:
        settings = (self.neighbours, self.prc_images, self.per_class, self.measures)
        of_features = Distribution(self.extractor, *settings)
        self.metrics = [of_features, PixelErrors()]
        super().__post_init__()

    def stamp(self, data: Data, num_real: int, num_fake: int) -> dict[str, Plain]:
        return self.extractor.protocol() | super().stamp(data, num_real, num_fake)
