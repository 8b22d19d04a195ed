"""Sample grids: the same latents or inputs throughout a run, as pictures that a person can judge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import torch
from torch import Tensor
from torchvision.utils import make_grid, save_image

from zoo.atomic import replacing
from zoo.batch import Preview, to_unit
from zoo.ranges import Count, Within
from zoo.run.callbacks import Every
from zoo.run.loggers import ShowsImages
from zoo.run.writing import attempt

Pictures = Annotated[int, Within(lambda n: 1 <= n <= 4_096, "must be from 1 to 4096 pictures")]


class SampleGrids(L.Callback):
    """Writes `samples/<images>.png` every so many images and at the end, and `samples/real.png` once.

    Previews of another name than "samples" are written beside them, "X->Y" as `samples/X-to-Y-<images>.png`. Where a
    preview has a panel (an input, its translation, ...), a row of the grid is the panel of one training image.

    Args:
        every: images between two grids; None: a tenth of `max_images`, the budget.
        count: pictures in a grid; its rows have about the square root of that. Of panels there are as many rows, and
            no more images than these show go through the networks.
    """

    def __init__(self, *, folder: str, every: int | None, max_images: Count, count: Pictures) -> None:
        self.folder = Path(folder) / "samples"
        self.every = Every(every, max_images=max_images)
        self.count = count
        self.rows = round(count**0.5)
        self._batch: Any = None
        self._panels = True  # whether the model's last preview had some

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.every.start(pl_module.images)
        if trainer.is_global_zero:
            loader = trainer.datamodule.evaluation_loader(split="train", num=self.count, batch_size=self.count)  # type: ignore[attr-defined]
            self._batch = type(batch := next(iter(loader)))(*(tensor.to(pl_module.device) for tensor in batch))
            self._draw(trainer, pl_module)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if self.every(pl_module.images) and trainer.is_global_zero:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero and self.every.acted != pl_module.images:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: L.Trainer, model: Any) -> None:
        with self.every.timed():
            self._write_all(trainer, model)

    def _previews(self, model: Any) -> dict[str, Preview]:
        """Those of as many images as are shown: of a batch's first rows where there are panels, otherwise of all."""
        if self._panels:
            previews = model.preview(type(self._batch)(*(tensor[: self.rows] for tensor in self._batch)))
            if any(preview.panel for preview in previews.values()):
                return previews
        previews = model.preview(self._batch)
        self._panels = any(preview.panel for preview in previews.values())
        return previews

    @torch.no_grad()
    def _write_all(self, trainer: L.Trainer, model: Any) -> None:
        for name, preview in self._previews(model).items():
            prefix = "" if name == "samples" else f"{name.replace('->', '-to-')}-"
            if preview.real is not None and not (self.folder / f"{prefix}real.png").exists():
                self._write(grid(preview.real), f"{prefix}real.png")
            picture = panels(preview.panel, self.rows) if preview.panel else grid(preview.fake)
            self._write(picture, f"{prefix}{model.images:09d}.png")
            pixels = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
            for logger in trainer.loggers:
                if isinstance(logger, ShowsImages):
                    logger.log_image(name, [pixels], step=model.images)

    def _write(self, picture: Tensor, name: str) -> None:
        with attempt(self.folder), replacing(self.folder / name) as part:
            save_image(picture, part)


def grid(images: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] as one picture [3, H', W'] in [0, 1], as near to a square as N allows.

    One channel is shown grey, two to the first three of more as colours.
    """
    columns = round((len(images) * images.shape[2] / images.shape[3]) ** 0.5)
    return make_grid(colours(images), nrow=max(columns, 1), padding=2, pad_value=0.5)


def panels(columns: Sequence[Tensor], rows: int) -> Tensor:
    """The first `rows` images of each [N, C, H, W] in [-1, 1], side by side: one picture [3, H', W'] in [0, 1].

    A row of the picture is a row of the batch. The numbers of channels may differ.
    """
    side_by_side = torch.stack([colours(images[:rows]) for images in columns], dim=1).flatten(0, 1)
    return make_grid(side_by_side, nrow=len(columns), padding=2, pad_value=0.5)


def colours(images: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] as RGB [N, 3, H, W] in [0, 1], on the CPU."""
    images = to_unit(images).cpu()
    if images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1)
    return torch.cat([images, images[:, :1]], 1) if images.shape[1] == 2 else images[:, :3]
