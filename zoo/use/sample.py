"""Images that a trained generator makes of seeds: as tensors, as a picture, as files, as a labelled data set."""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from zoo.batch import check_numbers, to_bytes, to_unit
from zoo.game.abilities import BATCH, classes_of, labels_of
from zoo.use.pictures import save, whole

Seen = Callable[[int], object]  # is told how many images more have been made, or written


@torch.no_grad()
def draw(
    model: Any,
    seeds: Sequence[int],
    label: Any = None,
    truncation: float | None = None,
    seen: Seen = lambda images: None,
) -> Tensor:
    """Images [N, C, H, W] in [0, 1] of seeds, on the CPU, by a model that makes them `FromLatents`.

    Args:
        label: the class of all of them, or the list of their attributes; None: of each seed its own class, where there
            are some.
        truncation: psi in [0, 2], of a model that `Truncates`; None: as the model was configured.
    """
    if truncation is not None and not 0 <= truncation <= 2:
        raise ValueError(f"--truncation={truncation} must be in [0, 2]: 1 is none, 0 the one image of the mean")
    wanted = None if label is None else torch.as_tensor(label, device=model.device)
    labels = lambda batch: None if wanted is None else wanted.expand(len(batch), *wanted.shape)
    batches = torch.tensor(list(seeds), device=model.device).split(BATCH)
    generate = model.generate
    if truncation is not None:
        of_seeds = lambda batch, labels: (model.latent_of(batch), labels_of(model, batch, labels))
        generate = lambda batch, labels: model.truncated(*of_seeds(batch, labels), truncation)
    images = []
    for batch in batches:
        images.append(to_unit(check_numbers(generate(batch, labels(batch)))).cpu())
        seen(len(batch))
    return torch.cat(images)


class Drawn:
    """The images of the seeds 0 to number - 1, made as they are taken, where `zoo compare` could take a folder's.

    Args:
        model: makes images `FromLatents`.
        name: of the model, for messages.
    """

    def __init__(self, model: Any, number: int, name: str) -> None:
        self.model, self.number, self.name = model, number, name
        self.size = ""

    def __len__(self) -> int:
        return self.number

    @torch.no_grad()
    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """uint8 [N, C, H, W], C 1 or 3, and their seeds int64 [N].

        Raises:
            ValueError: images of other channels, or that are no numbers.
        """
        for seeds in torch.arange(self.number).split(min(size, BATCH)):
            images = to_bytes(check_numbers(self.model.generate(seeds.to(self.model.device))))
            _, channels, height, width = images.shape
            if channels not in (1, 3):
                raise ValueError(f"{self.name} makes images of {channels} channels: metrics judge images of 1 or 3")
            self.size = f"{height}x{width} {'grey' if channels == 1 else 'RGB'}"
            yield images, seeds

    def notes(self) -> dict[str, Any]:
        """What there is to say of them, for a protocol."""
        generator = "EMA" if self.model.averaged or self.model.config.get("averaged") else "last"
        notes = {"images": self.number, "sizes": self.size, "made_by": type(self.model).__name__}
        notes |= {"trained_for": f"{self.model.images:,} images", "generator": generator}
        return notes | {"seeds": f"0 to {self.number - 1}"}


def grid(rows: Sequence[Tensor]) -> Image.Image:
    """Rows of images [N, C, H, W] in [0, 1] as one picture; where there is one row only, as a square."""
    images = torch.cat(list(rows))
    images = images[:, : 1 if images.shape[1] < 3 else 3]  # a grid is for looking at: without alpha
    columns = len(rows[0]) if len(rows) > 1 else round(len(rows[0]) ** 0.5)
    paper = make_grid(images, nrow=columns, padding=2, pad_value=0.5)
    return to_pil_image(paper.mul(255).add(0.5).clamp(0, 255).byte())


def save_grid(rows: Sequence[Tensor], path: Path) -> None:
    """The `grid` of these rows as a file."""
    save(grid(rows), path)


def save_files(images: Tensor, folder: Path, seeds: Sequence[int], seen: Seen = lambda images: None) -> None:
    """Images [N, C, H, W] in [0, 1] as FOLDER/<seed>.png."""
    for seed, image in zip(seeds, images.mul(255).round().byte(), strict=True):
        save(to_pil_image(image), folder / f"{seed:06d}.png")
        seen(1)


def folder_name(name: str) -> str:
    """A class's name as a folder's: `T-shirt/top` is `T-shirt_top`."""
    return re.sub(r'^\.|[/\\:*?"<>|\0]', "_", name)


def labelled_folder(
    model: Any,
    folder: Path,
    n: int,
    *,
    labels: Sequence[int],
    seed: int,
    checkpoint: Path,
    command: str,
    seen: Seen = lambda images: None,
) -> None:
    """FOLDER/<class>/<seed>.png: n images of each class, label y's of the seeds from `seed` + y * n on.

    manifest.csv names each image with its label, class and seed; manifest.json says where they come from.

    Raises:
        ValueError: if the folder holds anything, or several of the classes would share a subfolder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already, and not empty: give a new folder, or remove it")
    classes = classes_of(model)
    names = [folder_name(classes[label]) for label in labels]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"several classes would share the folder {', '.join(twice)}: take them one by one, --label")
    with checkpoint.open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    origin = {
        "command": command,
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": digest,
        "variant": type(model).__name__,
        "trained_for": f"{model.images} images",
        "classes": classes,
    }
    with whole(folder / "manifest.json") as part:
        part.write_text(json.dumps(origin, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with whole(folder / "manifest.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        manifest = csv.writer(file)
        manifest.writerow(["path", "label", "class", "seed"])
        for label, name in zip(labels, names, strict=True):
            seeds = range(seed + label * n, seed + (label + 1) * n)
            for start in range(0, n, BATCH):  # no more than these in memory
                batch = seeds[start : start + BATCH]
                save_files(draw(model, batch, label), folder / name, batch, seen)
                manifest.writerows([f"{name}/{i:06d}.png", label, classes[label], i] for i in batch)
