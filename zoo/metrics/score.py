"""The Inception Score: Salimans et al. 2016, arXiv:1606.03498, section 4.

    inception_score    exp(E KL(p(y|x) || p(y))): p(y|x) is what a classifier makes of a fake, p(y) their mean. High
                       where single images look like one class, and all classes occur; at most the number of classes.
                       It looks at no real image

As in the authors' code and torch-fidelity's, the images are split in 10 by chance and the value is the mean of 10
scores; ours come out of torch-fidelity's own permutation, so that the same images in the same order have its value. On
the standard Inception it is read off the logits without their bias, "logits_unbiased"; on a classifier of this project,
off its logits, and named after it: inception_score_mnist.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from zoo.metrics.estimate import Estimate, contributions
from zoo.metrics.extractors import Extractor
from zoo.metrics.measure import Counter, Measure, Seen
from zoo.metrics.metric import Plain, Task

SPLITS = 10
SEED = 2020  # torch-fidelity's


class Classes(Counter):
    """Sums over the fakes of each split."""

    count: Tensor  # [splits] fakes
    sum: Tensor  # [splits, classes] of p(y|x)
    negentropy: Tensor  # [splits] sum of p log p

    def __init__(self, num: int, extractor: Extractor, home: torch.device | str) -> None:
        super().__init__(home)
        splits, self.extractor = min(SPLITS, num), extractor
        self.split = torch.empty(num, dtype=torch.int64)  # position -> split
        order = torch.from_numpy(np.random.RandomState(SEED).permutation(num))
        for number in range(splits):
            self.split[order[number * num // splits : (number + 1) * num // splits]] = number
        self.add_state("count", torch.zeros(splits, dtype=torch.int64))
        self.add_state("sum", torch.zeros(splits, extractor.num_logits, dtype=torch.float64))
        self.add_state("negentropy", torch.zeros(splits, dtype=torch.float64))

    def update(self, images: Tensor, features: Tensor, index: Tensor, label: Tensor | None) -> None:
        p, log_p = probabilities(self.extractor.logits_of(features).to(self.home))
        split = self.split[index].to(self.home)
        self.count.index_add_(0, split, torch.ones_like(split))
        self.sum.index_add_(0, split, p)
        self.negentropy.index_add_(0, split, (p * log_p).sum(1))

    def score(self) -> float:
        """The mean over splits."""
        marginal = self.sum / self.count[:, None]
        return float((self.negentropy / self.count - torch.xlogy(marginal, marginal).sum(1)).exp().mean())


class InceptionScore(Measure):
    """It, of all fakes, with its interval from those that were drawn."""

    headline, higher_is_better, lacks = "inception_score", True, "that classifies"
    needs_reals = False
    signs: Mapping[str, float] = {"inception_score": 1.0}

    def fits(self, extractor: Extractor) -> bool:
        return extractor.num_logits > 0

    def counter(self, task: Task, extractor: Extractor, home: torch.device | str) -> Counter:
        return Classes(task.num_fake, extractor, home)

    def settings(self) -> dict[str, Plain]:
        return {"inception_score": f"the mean of {SPLITS} splits"}

    def values(self, seen: Seen) -> dict[str, float | Estimate]:
        classes = seen.counted[self]
        score = classes.score()
        p, log_p = probabilities(seen.extractor.logits_of(seen.fake.table).cpu())
        marginal = (classes.sum.sum(0) / classes.count.sum()).cpu()
        divergence = (p * log_p).sum(1) - torch.xlogy(p, marginal).sum(1)  # of log(score), the influence of an image
        fakes, most = contributions(score * divergence, seen.fake.num), float(p.shape[1])
        return {seen.named("inception_score"): Estimate(score, fakes, least=1.0, most=most)}


def probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, C] -> p and log p, float64."""
    return logits.double().softmax(1), logits.double().log_softmax(1)
