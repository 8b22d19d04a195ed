"""The run's log by images: the means of what is observed, a row every so many images."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


class Log:
    """Collects scalars step by step, and gives their means as a row when enough images have been shown.

    Args:
        every: images between two rows.
    """

    def __init__(self, *, every: int = 1_000) -> None:
        self.every = every
        self.latest: dict[str, float] = {}  # the newest value of everything published
        self.row_due = False  # whether the present step ends the window
        self._window: dict[str, list[Tensor]] = {}  # what was observed since the last row

    def begin_step(self, images: int, batch: int) -> None:
        """A step begins at whose end `images` will have been shown, `batch` of them in it."""
        self.row_due = images % self.every < batch

    def observe(self, name: str, values: Mapping[str, Tensor]) -> None:
        """Note scalars of this step as `name/key`."""
        for key, value in values.items():
            self._window.setdefault(f"{name}/{key}", []).append(value.detach())

    def forget(self, names: Iterable[str]) -> None:
        """What was published of these is not the newest any more."""
        of_these = tuple(f"{name}/" for name in names)
        self.latest = {key: value for key, value in self.latest.items() if not key.startswith(of_these)}

    def row(self, mean_over_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The means of the window, over all ranks, {} of an empty one; a new window begins."""
        if not self._window:
            return {}
        means = torch.stack([torch.stack(values).float().mean() for values in self._window.values()])
        row = dict(zip(self._window, mean_over_ranks(means).tolist(), strict=True))
        self._window.clear()
        return row

    def state(self) -> dict[str, Any]:
        """The window, for a checkpoint."""
        return {
            "window": {name: torch.stack(values).cpu() for name, values in self._window.items()},
            "row_due": self.row_due,
        }

    def load_state(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on with the window of a checkpoint."""
        self._window = {name: list(values.to(device).unbind()) for name, values in state["window"].items()}
        self.row_due = state["row_due"]
