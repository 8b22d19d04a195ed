"""The health of the game: what goes wrong with GANs, measured, and said in words with a remedy.

    health/D/gap        P(D(x) > D(x')) for a training image x and one that no player has seen, x' (Mann and Whitney's
                        statistic): 0.5 where D can't tell them apart, 1 where it knows its training images by heart.
                        Hayes et al. 2019, arXiv:1705.07663, section 4.2, attack with D's logits
    health/diversity    mean distance between two fakes, over that between two real images, in the features of the
                        metrics: 0 for a collapsed generator, about 1 for a healthy one
    health/spread       mean distance from a fake to the nearest other fake, over the same of as many real images:
                        near 0 where samples differ only between classes, or a few modes are left
    health/movement     mean distance that the images of fixed latents have moved since the last look, over that between
                        two real images: 0 for a generator that stands still
    health/duplicates   the share of fakes that lie nearer to a training image than 99 % of held-out images do: 0.01 is
                        what new images of the same kind would have. After Meehan et al. 2020, arXiv:2004.05675.
                        It looks among the training images of the evaluation's precision and recall (prc_images): where
                        these are a tenth of the set, a tenth of the duplicates is found

D's accuracies and the players' gradient norms are in the log already, as D/accuracy_real, D/accuracy_fake,
D/grad_norm. The features are those that an evaluation has compared: a look follows each. With `metrics=none` the gap
and the accuracies remain. The gap and the duplicates need HELD_OUT images that no player has seen.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from zoo.batch import LabelledImages, from_bytes, to_bytes
from zoo.game.settings import Count, Natural, Share, Weight, check_annotated
from zoo.metrics.memorisation import HELD_OUT, nearest, radius
from zoo.run.callbacks import Every, Remembers
from zoo.run.callbacks.evaluate import AfterEvaluation, Evaluate
from zoo.run.loggers import Alerts

COMPARED = 1_000  # images of each side, at most: the cost grows with the square
FOLLOWED = 256  # latents whose images are followed from look to look


@dataclass(frozen=True)
class Limits:
    """From where on a value is a complaint; conf/train.yaml says why each is where it is.

    Raises:
        ValueError: for a number out of its range.
    """

    after: Natural  # images before which nothing is said
    won: Share  # D's accuracy on real and on fake images, both above it, without progress: D has won
    progress: Share  # the value that chooses the best checkpoint betters by less than this share: no progress
    diversity: Share  # below it, or a spread below it: collapsed
    movement: Weight  # above it without progress: oscillating
    gap: Share  # above it: overfitting
    duplicates: Share  # above it: memorising

    def __post_init__(self) -> None:
        check_annotated(Limits, vars(self), "callbacks.health.limits")


class Complaint(NamedTuple):
    """What is wrong, the figures that show it, and what to change."""

    name: str
    subject: str  # the player or the preview that it is about; "" where there is one preview
    seen: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.seen}. {self.remedy}"


def judge(
    now: Mapping[str, float], before: Mapping[str, float], limits: Limits, chooses: tuple[str, float] | None
) -> Iterator[Complaint]:
    """What is wrong with a game, by two successive looks at it.

    Args:
        now, before: `health/*`, `D/accuracy_real`, `D/accuracy_fake` and the value that chooses the best checkpoint, as
            far as they are known. Without such a value, D's accuracies alone show that it has won.
        limits: from where on it is a complaint.
        chooses: that value's name, and 1 where higher is better, else -1.
    """
    metric, sign = chooses or ("", 0.0)
    stuck, stands = False, ""
    if metric in now and metric in before:
        stuck = sign * now[metric] <= sign * (1 + sign * limits.progress) * before[metric]
        digits = 1 if before[metric] >= 1 else 3
        stands = f" while {metric} went from {before[metric]:.{digits}f} to {now[metric]:.{digits}f}"

    kinds = ("accuracy_real", "diversity", "movement", "gap", "duplicates")
    judged = [(kind, name) for kind in kinds for name in now if name.rsplit("/", 1)[-1] == kind]
    for kind, name in judged:
        value, subject = now[name], name.removeprefix("health/").rpartition("/")[0]
        of = f" of {subject}" if subject else ""
        if kind == "accuracy_real":
            fake = now[f"{subject}/accuracy_fake"]
            if min(value, fake) > limits.won and (stuck or metric not in now):
                seen = f"{subject} is right about {value:.1%} of real and {fake:.1%} of fake images{stands}"
                remedy = (
                    f"Slow {subject} down: a lower model.lr.{subject}, model.n_critic=1, model.skip_d_above=0.9, or "
                    "regularizer=r1; or raise model.lr.G"
                )
                yield Complaint("discriminator won", subject, seen, remedy)
        elif kind == "diversity":
            spread = now[name.removesuffix("diversity") + "spread"]
            if min(value, spread) < limits.diversity:
                seen = f"two samples{of} are {value:.2f} times as far apart as two real images"
                seen += f", the nearest two {spread:.2f} times"
                remedy = (
                    "Set regularizer=r1, loss=wasserstein with regularizer=gradient_penalty, a larger "
                    "data.batch_size, or lower model.lr.G"
                )
                yield Complaint("mode collapse", subject, seen, remedy)
        elif kind == "movement" and value > limits.movement and stuck:
            distance = f"{value:.2f} of the distance between two real images"
            seen = f"the same latents' images{of} moved by {distance} since the last look{stands}"
            remedy = (
                "Lower model.lr.D and model.lr.G, let them fall (model.decay_start=), or average over more images "
                "(model.ema_half_life=)"
            )
            yield Complaint("generator oscillating", subject, seen, remedy)
        elif kind == "gap" and value > limits.gap:
            seen = f"{subject} rates a training image above one that it has not seen {value:.0%} of the time"
            remedy = "Take more data, augment=ada, data.flip=true where a mirror image is as good, or a smaller D"
            yield Complaint("overfitting", subject, seen, remedy)
        elif kind == "duplicates" and value > limits.duplicates:
            seen = f"{value:.0%} of the samples{of} are nearer to a training image than 99 % of unseen images"
            remedy = "Take more data or augment=ada; best.ckpt may be from before"
            yield Complaint("memorisation", subject, seen, remedy)


class Health(Remembers, AfterEvaluation):
    """Looks at the game every so many images, logs `health/*`, and says what is wrong, once.

    A complaint is said when two looks in a row have it: on the console, as an alert of the loggers that have one
    (W&B), and in the report. Training goes on.

    Args:
        every: images between two looks where there are no metrics; None: a tenth of `max_images`, the budget.
        count: training images, and held-out ones, whose logits are compared.
        limits: see `Limits`.
    """

    remembered = ("history", "judged", "first", "said", "suspected", "followed", "comparable")

    def __init__(self, *, every: int | None, max_images: Count, count: Count, limits: dict[str, Any]) -> None:
        self.every, self.count, self.limits = Every(every, max_images=max_images), count, Limits(**limits)
        self.history: list[dict[str, float]] = []  # a row for each look: images, and every value
        self.first = 0  # the first row of the history that is of these data and metrics
        self.comparable: dict[str, Any] = {}  # what the looks since then rest on: images of each split, and metrics
        self.judged = 0  # how many of the looks came late enough to be judged
        self.said: dict[str, str] = {}  # every complaint so far, in words, by name and subject
        self.suspected: list[str] = []  # the names and subjects of the last look's complaints
        self.followed: dict[str, Tensor] = {}  # fakes of the last look, in features, by preview
        self._batches: dict[str, Any] = {}  # a batch of each split, its images as bytes
        self._radius: float | None = None  # nearer to a training image than this is a duplicate

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.every.start(pl_module.images)
        if trainer.is_global_zero:
            with torch.random.fork_rng([]):  # a loader draws from the global stream
                self._batches = {split: self._batch(trainer.datamodule, split) for split in ("train", "test")}  # type: ignore[attr-defined]
            self._hold_against(trainer.datamodule, Evaluate.of(trainer), pl_module.images)  # type: ignore[attr-defined]

    def _hold_against(self, data: Any, evaluate: Evaluate | None, images: int) -> None:
        """Compare the next look with none that was at other data, or by other metrics, and say everything again."""
        of_metrics = evaluate.evaluation.comparable(data) if evaluate and evaluate.evaluation else {}
        comparable = {"train": _fingerprint(data, "train"), "test": _fingerprint(data, "test"), **of_metrics}
        if self.history and comparable != self.comparable:
            self.first, self.suspected, self.followed = len(self.history), [], {}
            self.said = {f"{key}, before image {images}": words for key, words in self.said.items()}
        self.comparable = comparable

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        evaluate = Evaluate.of(trainer)
        if self.every(pl_module.images) and not (evaluate and evaluate.evaluation):
            with self.every.timed():
                self._look(trainer, pl_module, None)

    def on_evaluation(self, trainer: L.Trainer, pl_module: Any, evaluate: Evaluate) -> None:
        self._look(trainer, pl_module, evaluate)

    @torch.no_grad()
    def _look(self, trainer: L.Trainer, model: Any, evaluate: Evaluate | None) -> None:
        """Measure, judge, speak. Only rank 0 looks: nothing here waits for another rank."""
        if not trainer.is_global_zero:
            return
        values = self._gaps(model)
        accuracies = ("/accuracy_real", "/accuracy_fake")
        row = {name: value for name, value in model.run_log.latest.items() if name.endswith(accuracies)}
        if evaluate:
            values |= self._of_samples(evaluate)
            if evaluate.metric:
                row[evaluate.metric] = evaluate.history[-1][evaluate.metric]
        model.publish(values)
        before = self.history[-1] if self.history[self.first :] else {}
        self.history.append({"images": model.images, **row, **values})
        if model.images < self.limits.after:
            return
        self.judged += 1
        chooses = evaluate.chooses if evaluate else None
        complaints = {f"{c.name} {c.subject}": c for c in judge(self.history[-1], before, self.limits, chooses)}
        for key, complaint in complaints.items():
            if key not in self.suspected or key in self.said:
                continue
            self.said[key] = f"image {model.images:,}: {complaint}"
            print(f"\nhealth, {self.said[key]}", flush=True)
            for logger in trainer.loggers:
                if isinstance(logger, Alerts):
                    logger.alert(complaint.name, self.said[key])
        self.suspected = list(complaints)

    def _batch(self, data: Any, split: str) -> Any:
        """The first `count` images of a split's evaluation, kept as bytes; None where there are too few."""
        try:
            count = min(self.count, data.num_images(split))
        except ValueError:  # there is no such split
            return None
        if count < HELD_OUT:
            return None
        batch = next(iter(data.evaluation_loader(split=split, num=count, batch_size=count)))
        return batch._make(to_bytes(field) if field.dim() == 4 else field for field in batch)

    def _critique(self, model: Any, split: str) -> dict[str, Tensor]:
        """Each discriminator's mean logit [n] of the split's images."""
        batch, of_parts = self._batches[split], []
        for rows in torch.arange(len(batch[0])).split(64):
            part = [field[rows].to(model.device) for field in batch]
            of_parts.append(model.critique(batch._make(from_bytes(f) if f.dim() == 4 else f for f in part)))
        mean = lambda logits: logits.flatten(1).mean(1) if logits.dim() > 1 else logits  # over an image's patches
        return {name: torch.cat([mean(logits[name]) for logits in of_parts]) for name in of_parts[0]}

    def _gaps(self, model: Any) -> dict[str, float]:
        """P(D(x) > D(x')) of each discriminator, which is left as it was."""
        if None in self._batches.values():
            return {}
        modes = {module: module.training for module in model.modules()}
        model.eval()
        with torch.compiler.set_stance("force_eager"):  # another size of batch: not worth a compilation
            seen, unseen = (self._critique(model, split) for split in ("train", "test"))
        for module, mode in modes.items():
            module.training = mode
        return {f"health/{name}/gap": superiority(seen[name], unseen[name]) for name in seen}

    def _of_samples(self, evaluate: Evaluate) -> dict[str, float]:
        """Diversity, spread, movement and duplicates, in the features of the newest evaluation."""
        assert evaluate.result
        assert evaluate.evaluation
        values: dict[str, float] = {}
        for key, (real, fake, extract) in evaluate.result.features.items():
            n = min(len(real), len(fake), COMPARED)
            prefix = "health/" if key == "samples" else f"health/{key}/"
            every_real, real, fake = real, real[:n], fake[:n]
            scale, apart = spacing(real), float(nearest(real, real).distance.mean())
            if not scale or not apart:
                continue  # real images that are all alike are no measure
            values[f"{prefix}diversity"] = spacing(fake) / scale
            values[f"{prefix}spread"] = float(nearest(fake, fake).distance.mean()) / apart
            followed = fake[:FOLLOWED].cpu().clone()
            if key in self.followed:
                values[f"{prefix}movement"] = float((followed - self.followed[key]).norm(dim=1).mean()) / scale
            self.followed[key] = followed
            unseen_images = isinstance(self._batches["test"], LabelledImages)  # fakes made of images are not new ones
            if key == "samples" and unseen_images and evaluate.evaluation.split == "train":
                if self._radius is None:
                    images = self._batches["test"].image.to(real.device).split(evaluate.evaluation.batch_size)
                    unseen = torch.cat([extract(part) for part in images])
                    self._radius = float(radius(nearest(unseen, every_real).distance))
                values[f"{prefix}duplicates"] = float(
                    (nearest(fake, every_real).distance < self._radius).float().mean()
                )
        return values


def _fingerprint(data: Any, split: str) -> str:
    """That of a split's images; "" where there is no such split."""
    try:
        return data.fingerprint(split)
    except ValueError:
        return ""


def superiority(a: Tensor, b: Tensor) -> float:
    """P(a > b) + P(a = b) / 2 for a, b drawn from a [n] and b [m]: Mann and Whitney's statistic."""
    return float((1 + (a.float()[:, None] - b.float()[None]).sign().mean()) / 2)


def spacing(x: Tensor) -> float:
    """Mean Euclidean distance between two different rows of x [n, F]."""
    return float(torch.pdist(x.double()).mean())
