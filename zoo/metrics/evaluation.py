"""The usual evaluation of generated images: what they are like, what they show and what they should be.

Fakes are compared with real ones as distributions (zoo/metrics/distribution.py), and where it is known what a fake
should be, pixel by pixel (zoo/metrics/pixels.py): as far as a preview has the fields for it.
"""

from zoo.metrics.distribution import Distribution
from zoo.metrics.evaluator import Evaluator
from zoo.metrics.extractors import Extractor
from zoo.metrics.metric import Data, Plain
from zoo.metrics.pixels import PixelErrors


class Evaluation(Evaluator):
    """A `Distribution` and `PixelErrors`; every argument is explained there or in `Evaluator`."""

    def __init__(
        self,
        *,
        extractor: Extractor,
        split: str,
        num_real: int | None,
        num_fake: int | None,
        neighbours: int,
        prc_images: int,
        per_class: bool,
        batch_size: int,
        cache_dir: str | None,
    ) -> None:
        self.extractor = extractor
        distribution = Distribution(
            extractor=extractor, neighbours=neighbours, prc_images=prc_images, per_class=per_class
        )
        super().__init__(
            metrics=[distribution, PixelErrors()],
            split=split,
            num_real=num_real,
            num_fake=num_fake,
            batch_size=batch_size,
            cache_dir=cache_dir,
        )

    def stamp(self, data: Data, num_real: int, num_fake: int) -> dict[str, Plain]:
        return self.extractor.protocol() | super().stamp(data, num_real, num_fake)
