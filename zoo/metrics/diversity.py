"""How far fakes are from each other: the mean LPIPS between pairs of them, as BicycleGAN (Zhu et al. 2017,
arXiv:1711.11586, section 5) and StarGAN v2 (Choi et al. 2020, arXiv:1912.01865, section 4) report it.

    diversity          by LPIPS on AlexNet (zoo/metrics/lpips.py), whose weights are downloaded (233 MB): not measured,
                       with one sentence, where they can't be had
    diversity_mnist    on the activations of a classifier of this project, by the same formula without weights

High is not good by itself: noise is diverse.

Fakes are drawn once with a fixed seed and paired with one another, each in one pair. Where they have labels, both of a
pair are of one class, since classes differ anyway: what is left is what the latents do. Those papers pair outputs of
one input; a translator here has one output for each, so that its pairs are of different inputs. Images larger than 256
pixels are shrunk to that, and for AlexNet those smaller than 64 enlarged.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from zoo.metrics import lpips
from zoo.metrics.estimate import Estimate, mean_of
from zoo.metrics.extractors import Extractor
from zoo.metrics.measure import Counter, Measure, Seen
from zoo.metrics.metric import Plain, Task

DRAWN = 500  # fakes: 250 pairs
LARGEST, LEAST = 256, 64  # pixels


@runtime_checkable
class Activates(Protocol):
    """An extractor whose layers can be looked at."""

    def activations(self, images: Tensor) -> list[Tensor]: ...


class Drawn(Counter):
    """Some fakes, as they are."""

    images: Tensor  # [n, C, H, W] uint8
    label: Tensor  # [n] of their classes; 0 where they have none

    def __init__(self, num: int, shape: tuple[int, ...], device: torch.device, home: torch.device | str) -> None:
        super().__init__(home)
        self.device = device
        chosen = torch.randperm(num, generator=torch.Generator().manual_seed(0))[:DRAWN].sort().values
        self.row = torch.full((num,), -1)  # [num] position -> row, or -1
        self.row[chosen] = torch.arange(len(chosen))
        channels, *size = shape
        self.size = [min(side, max(1, side * LARGEST // max(size))) for side in size]
        self.add_state("images", torch.zeros(len(chosen), channels, *self.size, dtype=torch.uint8))
        self.add_state("label", torch.zeros(len(chosen), dtype=torch.int64))

    def update(self, images: Tensor, features: Tensor, index: Tensor, label: Tensor | None) -> None:
        row = self.row[index]
        chosen = (row >= 0).nonzero().squeeze(1)
        if not len(chosen):
            return
        row = row[chosen].to(self.home)
        self.images[row] = resized(images[chosen.to(images.device)], self.size).to(self.home)
        if label is not None:
            self.label[row] = label[chosen.to(label.device)]

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Images [pairs, C, H, W] of one class each."""
        firsts, seconds = [], []
        for label in self.label.unique():
            of_class = self.images[self.label == label]
            number = len(of_class) // 2
            firsts.append(of_class[:number])
            seconds.append(of_class[number : 2 * number])
        return torch.cat(firsts), torch.cat(seconds)


class Diversity(Measure):
    """It, of a classifier's activations where the extractor has some, else LPIPS."""

    needs_reals, needs_model = False, True
    signs: Mapping[str, float] = {"diversity": 1.0}

    def __init__(self) -> None:
        self.distance = lpips.Distance(
            "alex", "diversity is not measured", "leave it out of metrics.measures, and this sentence is gone"
        )

    def load(self, extractor: Extractor) -> None:
        if not isinstance(extractor, Activates):
            self.distance.load()

    def fits(self, extractor: Extractor) -> bool:
        return isinstance(extractor, Activates) or self.distance.is_there

    def counter(self, task: Task, extractor: Extractor, home: torch.device | str) -> Counter:
        return Drawn(task.num_fake, task.shape, task.device, home)

    def settings(self) -> dict[str, Plain]:
        return {"diversity": f"of {DRAWN // 2} pairs at most, of one class each where fakes have classes"}

    def values(self, seen: Seen) -> dict[str, float | Estimate]:
        drawn, extractor = seen.counted[self], seen.extractor
        first, second = drawn.pairs()
        if not len(first):
            return {}
        rows, activates = [], isinstance(extractor, Activates)
        for a, b in zip(first.split(50), second.split(50), strict=True):
            a, b = a.to(drawn.device), b.to(drawn.device)
            if isinstance(extractor, Activates):
                rows.append(lpips.unweighted(extractor.activations(a), extractor.activations(b)))
            else:
                enlarged = [max(side, side * LEAST // min(a.shape[2:])) for side in a.shape[2:]]
                rows.append(self.distance(resized(a, enlarged), resized(b, enlarged)))
        value = mean_of(torch.cat(rows).cpu())
        return {seen.named("diversity") if activates else "diversity": value}


def resized(images: Tensor, size: list[int]) -> Tensor:
    """uint8 images [N, C, H, W] in another size, bilinear with antialias; as they are if they have it."""
    if list(images.shape[2:]) == size:
        return images
    return interpolate(images.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).to(torch.uint8)
