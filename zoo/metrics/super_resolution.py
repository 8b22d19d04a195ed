"""The evaluation of super-resolution: PSNR and SSIM on whole images, by the papers' conventions, and LPIPS if asked.

    psnr_y, ssim_y, psnr_rgb, ssim_rgb    zoo/metrics/pixels.py, the mean over images
    lpips    Zhang et al. 2018 (arXiv:1801.03924), eq. (1), by torchmetrics; on RGB with the border left out; lower is
             better, and nearer to what people see than PSNR. Its network's weights must be downloaded

The value of N processes equals that of one: each rank measures its share of the images, into a table with a row for
each, and the tables are summed.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from zoo.batch import Preview, to_bytes
from zoo.metrics.pixels import measure, without_border

log = logging.getLogger(__name__)

Plain = str | int | float | bool
NAMES = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb")
NETWORKS = ("alex", "vgg", "squeeze")  # of LPIPS


class WholeImage(Protocol):
    """One image: its name, the batch of one that a model takes, and whether its file has no colours."""

    @property
    def name(self) -> str: ...
    @property
    def batch(self) -> Any: ...
    @property
    def is_grey(self) -> bool: ...


class Data(Protocol):
    """What this evaluation asks of a data module."""

    scale: int

    @property
    def description(self) -> str:
        """What the data is, in words."""

    def fingerprint(self, split: str) -> str:
        """A hash of the split's images and of all that is done to them."""

    def num_whole_images(self, split: str) -> int:
        """How many whole images a split has."""

    def whole_images(self, *, split: str, rank: int, world_size: int) -> Iterable[WholeImage]:
        """Those at positions rank, rank + world_size, ...; the batch's `index` is the position."""


@dataclass(frozen=True)
class Result:
    """What an evaluation found, and what must be equal for two such values to be comparable."""

    values: dict[str, float]
    protocol: dict[str, Plain]
    images: dict[str, dict[str, float]] = field(default_factory=dict)  # the same values of each image, by its name
    features: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)  # none: pixels are compared
    left_out: dict[str, str] = field(default_factory=dict)  # images that can't be measured, and why


class SuperResolution:
    """Compares super-resolved whole images with what they should be.

    Args:
        split: of the data, "test" or "train".
        border: pixels left out on each side; None: as many as the magnification, as the papers do.
        lpips: the network of LPIPS, "alex", "vgg" or "squeeze", measured where its weights can be had; None: without.

    Raises:
        ValueError: naming the argument, its value and the remedy.
    """

    def __init__(self, *, split: str, border: int | None, lpips: str | None) -> None:
        if split not in ("train", "test"):
            raise ValueError(f'split={split!r}: give "train" or "test"')
        if border is not None and border < 0:
            raise ValueError(f"metrics.border={border} must be 0 or more, or null: the magnification")
        if lpips is not None and lpips not in NETWORKS:
            raise ValueError(f"metrics.lpips={lpips} must be one of {', '.join(NETWORKS)}, or null")
        self.split, self.border, self.lpips = split, border, lpips
        self._lpips: Any = None

    def prepare(self) -> None:
        """Fetches LPIPS' weights; call it on one rank per machine, before training starts."""
        self.load()

    def load(self) -> None:
        """Builds LPIPS, where it is wanted and can be had; one sentence where it can't."""
        if self.lpips is None or self._lpips is not None:
            return
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        try:
            with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
                network = LearnedPerceptualImagePatchSimilarity(net_type=self.lpips, normalize=False)  # type: ignore[arg-type]
        except (OSError, RuntimeError, ModuleNotFoundError) as error:  # URLError is an OSError
            log.warning(
                "lpips is not measured: the weights of %s could not be downloaded (%s); metrics.lpips=null is without",
                self.lpips,
                error,
            )
            self.lpips = None
        else:
            self._lpips = network.requires_grad_(False).eval()

    def check(self, preview: Callable[[Any], Mapping[str, Preview]], data: Data, *, device: torch.device | str) -> None:
        """Call it before time is spent on training: looks whether there are whole images.

        Raises:
            ValueError: data without whole images, or none in the split.
        """
        self._number(data)

    def _number(self, data: Data) -> int:
        """How many images will be measured."""
        if not hasattr(data, "whole_images"):
            raise ValueError(
                "metrics=super_resolution measures whole images at two resolutions: use data=photos or "
                "data=super_resolution_folder, or other metrics"
            )
        return data.num_whole_images(self.split)

    def chooses(self, phase: str, names: Iterable[str]) -> tuple[str, float] | None:
        """Which value tells the best checkpoint of a phase, and its sign: 1 where higher is better, else -1.

        PSNR falls as the adversarial phase begins, by design: there LPIPS tells, or without it none does, and the
        newest checkpoint is the best.
        """
        if phase == "adversarial":
            return ("lpips", -1.0) if "lpips" in names else None
        return "psnr_y", 1.0

    def evaluate(
        self,
        preview: Callable[[Any], Mapping[str, Preview]],
        data: Data,
        *,
        device: torch.device | str,
        rank: int = 0,
        world_size: int = 1,
        protocol: Mapping[str, Plain] | None = None,
        skip: bool = False,
    ) -> Result:
        """Measures the split; every rank calls it and every rank gets the same result.

        The random state of the training is left as it was.

        Args:
            preview: a batch on `device` -> {"samples": Preview(fake, target=...)}, images in [-1, 1].
            data: the data module.
            device: where images are made.
            rank, world_size: of torch.distributed's default group, which must be up when world_size > 1.
            protocol: what else must be equal for values to be comparable.
            skip: measure the rest where an image can't be, and name it in `left_out`.

        Raises:
            ValueError: an image that is too small to be measured; with `skip`, if all are.
        """
        device = torch.device(device)
        self.load()
        border = data.scale if self.border is None else self.border
        names = (*NAMES, "lpips") if self._lpips is not None else NAMES
        table = torch.zeros(self._number(data), len(names), dtype=torch.float64)
        files = [""] * len(table)
        left_out: dict[str, str] = {}
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            for image in data.whole_images(split=self.split, rank=rank, world_size=world_size):
                position = int(image.batch.index)
                files[position] = image.name
                try:
                    table[position] = self._of(image, preview, border, device)
                except ValueError as error:  # the other ranks wait for the sums: tell them with these
                    left_out[image.name] = str(error)
                    table[position] = torch.nan
        if world_size > 1:
            home = device if device.type == "cuda" else torch.device("cpu")
            summed = table.to(home)
            dist.all_reduce(summed)
            table = summed.cpu()
            everyone: list[Any] = [None] * world_size
            dist.all_gather_object(everyone, (files, left_out))
            files = [next(name for name in column if name) for column in zip(*(f for f, _ in everyone), strict=True)]
            left_out = {name: why for _, of_rank in everyone for name, why in of_rank.items()}
        if left_out and (not skip or len(left_out) == len(files)):
            raise ValueError(": ".join(next(iter(left_out.items()))))
        measured = [position for position, name in enumerate(files) if name not in left_out]
        values = dict(zip(names, table[measured].mean(0).tolist(), strict=True))
        of_images = {files[i]: dict(zip(names, table[i].tolist(), strict=True)) for i in measured}
        found = {**self._protocol(data, border), "num_images": len(measured), **(protocol or {})}
        return Result(values, found, of_images, left_out=left_out)

    def _of(
        self, image: WholeImage, preview: Callable[[Any], Mapping[str, Preview]], border: int, device: torch.device
    ) -> Tensor:
        """The row of an image."""
        shown = preview(image.batch._make(field.to(device) for field in image.batch))["samples"]
        assert shown.target is not None
        fake, target = to_bytes(shown.fake), to_bytes(shown.target)
        row = [value.cpu() for value in measure(fake, target, border=border, is_grey=image.is_grey).values()]
        if self._lpips is not None:
            fake, target = (without_border(i.float() / 127.5 - 1, border)[:, :3] for i in (fake, target))
            pair = (fake.expand(-1, 3, -1, -1), target.expand(-1, 3, -1, -1))
            row.append(self._lpips.to(device)(*pair).cpu().double().view(1))
            self._lpips.reset()
        return torch.cat(row)

    def _protocol(self, data: Data, border: int) -> dict[str, Plain]:
        return {
            "data": data.description,
            "fingerprint": data.fingerprint(self.split),
            "split": self.split,
            "num_images": self._number(data),
            "scale": data.scale,
            "border": border,
            "y": "BT.601 studio swing; grey files by their levels",
            "ssim": "Gaussian 11x11, sigma 1.5, valid region",
            **({"lpips": str(self.lpips)} if self._lpips is not None else {}),
        }
