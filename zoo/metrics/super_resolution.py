"""The evaluation of super-resolution: PSNR and SSIM on whole images, by the papers' conventions, and LPIPS if asked.

    psnr_y, ssim_y, psnr_rgb, ssim_rgb    zoo/metrics/pixels.py, the mean over images
    lpips    Zhang et al. 2018 (arXiv:1801.03924), eq. (1), by torchmetrics; on RGB with the border left out; lower is
             better, and nearer to what people see than PSNR. Its network's weights must be downloaded

PSNR falls as a game begins that shall make images look right, by design: there LPIPS tells the best checkpoint, or
without it none does, and the newest is the best.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

from zoo.batch import to_bytes
from zoo.metrics import lpips
from zoo.metrics.estimate import intervals_of, mean_of
from zoo.metrics.evaluator import Evaluator, Previews, on, ranks, undisturbed
from zoo.metrics.metric import Metric, Plain, Result, Task
from zoo.metrics.pixels import measure, without_border

LEAST = 5  # images, for an interval


@runtime_checkable
class WholeImages(Protocol):
    """What this evaluation asks of a data module, beside its `scale`, description and fingerprint."""

    def num_whole_images(self, split: str) -> int:
        """How many whole images a split has."""

    def whole_images(self, *, split: str, rank: int, world_size: int) -> Iterable[Any]:
        """Those at positions rank, rank + world_size, ...

        Each has a `name`, the `batch` of one that a model takes, whose `index` is the position, and `is_grey`: whether
        its file has no colours.
        """


class OfWholeImages(Metric):
    """Base of what is measured image by image: a table with a row for each. A subclass gives `names` and `row`."""

    needs = ("target",)
    names: tuple[str, ...] = ()
    table: Tensor  # [images, values]

    def begin(self) -> None:
        self.add_state("table", torch.zeros(self.task.num_fake, len(self.names), dtype=torch.float64))

    def row(self, fake: Tensor, target: Tensor, border: int, *, is_grey: bool) -> Tensor:
        """The values [len(names)] of an image, float64: uint8 [1, C, H, W] beside what it should be."""
        raise NotImplementedError


class Fidelity(OfWholeImages):
    """PSNR and SSIM of the luma and of the colours."""

    names = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb")
    headline = "psnr_y"
    signs: Mapping[str, float] = dict.fromkeys(names, 1.0)

    def may_choose(self, goal: str) -> bool:
        return goal != "perception"

    def row(self, fake: Tensor, target: Tensor, border: int, *, is_grey: bool) -> Tensor:
        return torch.cat(list(measure(fake, target, border=border, is_grey=is_grey).values()))


class LPIPS(OfWholeImages):
    """The perceptual distance on a network, "alex", "vgg" or "squeeze", measured where its weights can be had."""

    names = ("lpips",)
    headline, higher_is_better = "lpips", False

    def __init__(self, network: lpips.Name) -> None:
        super().__init__()
        self.distance = lpips.Distance(network, "lpips is not measured", "metrics.lpips=null is without")

    def load(self) -> None:
        self.distance.load()

    def measures(self, task: Task) -> bool:
        return self.distance.is_there and super().measures(task)

    def settings(self) -> dict[str, Plain]:
        return {"lpips": self.distance.name} if self.distance.is_there else {}

    def row(self, fake: Tensor, target: Tensor, border: int, *, is_grey: bool) -> Tensor:
        return self.distance(*(without_border(image, border)[:, :3] for image in (fake, target)))


class SuperResolution(Evaluator):
    """Compares super-resolved whole images with what they should be.

    Args:
        split: of the data.
        border: pixels left out on each side; None: as many as the magnification, as the papers do.
        lpips: the network of LPIPS, measured where its weights can be had; None: without.

    Raises:
        ValueError: a negative border.
    """

    def __init__(
        self, *, split: Literal["train", "test"], border: int | None, lpips: Literal["alex", "vgg", "squeeze"] | None
    ) -> None:
        if border is not None and border < 0:
            raise ValueError(f"metrics.border={border} must be 0 or more, or null: the magnification")
        self.border = border
        self.of_images: list[OfWholeImages] = [Fidelity(), *([LPIPS(lpips)] if lpips else [])]
        whole: dict[str, None] = dict.fromkeys(("num_real", "num_fake", "cache_dir"))
        super().__init__(metrics=self.of_images, split=split, batch_size=1, **whole)

    def check(self, preview: Previews, data: Any, *, device: torch.device | str) -> None:
        """Call it before time is spent on training: looks whether there are whole images.

        Raises:
            ValueError: data without whole images, or none in the split.
        """
        self.numbers(data)

    def numbers(self, data: Any) -> tuple[int, int]:
        if not isinstance(data, WholeImages):
            raise ValueError(
                "metrics=super_resolution measures whole images at two resolutions: use data=photos or "
                "data=super_resolution_folder, or other metrics"
            )
        return (data.num_whole_images(self.split),) * 2

    def _border(self, data: Any) -> int:
        return data.scale if self.border is None else self.border

    def stamp(self, data: Any, num_real: int, num_fake: int) -> dict[str, Plain]:
        stamp: dict[str, Plain] = {
            "data": data.description,
            "fingerprint": data.fingerprint(self.split),
            "split": self.split,
            "num_images": num_fake,
            "scale": data.scale,
            "border": self._border(data),
            "y": "BT.601 studio swing; grey files by their levels",
            "ssim": "Gaussian 11x11, sigma 1.5, valid region",
        }
        for metric in self.of_images:
            stamp |= metric.settings()
        return stamp

    def evaluate(
        self, preview: Previews, data: Any, *, device: torch.device | str, protocol: Mapping[str, Plain] | None = None,
        skip: bool = False,
    ) -> Result:  # fmt: skip
        """Measures the split; every rank calls it and every rank gets the same result. See `Evaluator.evaluate`.

        Args:
            preview: a batch on `device` -> {"samples": Preview(fake, target=...)}, images in [-1, 1].
            skip: measure the rest where an image can't be, and name it in `left_out`.

        Raises:
            ValueError: an image that is too small to be measured; with `skip`, if all are.
        """
        numbers, device, (rank, world_size) = self.numbers(data), torch.device(device), ranks()
        border = self._border(data)
        self.load()
        task = Task("samples", frozenset({"fake", "target"}), data, *numbers, device, {})
        metrics = [metric.begun(task) for metric in self.of_images if metric.measures(task)]
        files, left_out = [""] * task.num_fake, {}
        with undisturbed(device):
            for image in data.whole_images(split=self.split, rank=rank, world_size=world_size):
                position = int(image.batch.index)
                files[position] = image.name
                try:
                    shown = preview(on(image.batch, device))["samples"]
                    assert shown.target is not None
                    fake, target = to_bytes(shown.fake), to_bytes(shown.target)
                    for metric in metrics:
                        metric.table[position] = metric.row(fake, target, border, is_grey=image.is_grey)
                except ValueError as error:  # the other ranks wait for the sums: tell them with these
                    left_out[image.name] = str(error)
        if world_size > 1:
            for metric in metrics:
                metric.reduce()
            everyone: list[Any] = [None] * world_size
            dist.all_gather_object(everyone, (files, left_out))
            files = ["".join(names) for names in zip(*(of_rank for of_rank, _ in everyone), strict=True)]
            left_out = {name: why for _, of_rank in everyone for name, why in of_rank.items()}
        if left_out and (not skip or len(left_out) == len(files)):
            raise ValueError(": ".join(next(iter(left_out.items()))))
        measured = [position for position, name in enumerate(files) if name not in left_out]
        table = torch.cat([metric.table for metric in metrics], 1)[measured].cpu()
        names = [name for metric in metrics for name in metric.names]
        values, *of_images = (dict(zip(names, row.tolist(), strict=True)) for row in (table.mean(0), *table))
        estimates = {name: mean_of(rows, pairs=True) for name, rows in zip(names, table.T, strict=True)}
        estimates = estimates if len(measured) >= LEAST else {}
        images = {files[position]: row for position, row in zip(measured, of_images, strict=True)}
        stamp = self.stamp(data, *numbers) | {"num_images": len(measured)}
        stamp |= dict(protocol or {})
        return Result(values, stamp, intervals_of(estimates), estimates, images=images, left_out=left_out)
