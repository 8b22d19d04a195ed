"""What the memory layout of each network costs on this CPU: contiguous (NCHW) against channels-last (NHWC).

    python benchmarks/layout.py                                  # every variant at its default setting
    python benchmarks/layout.py model=pix2pix scale=paper data.image_size=128

A step with one of the networks contiguous and all others channels-last, over a step with all of them channels-last:
below 1, that network should say `channels_last_on_cpu = False`, as zoo.networks.translators.UNet does. Segments of
--steps steps alternate in one process, on the same batch; the table has the median over --rounds, and in brackets the
lowest and the highest ratio. Timed is the processor's time of one thread, which other programs disturb little.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import lightning as L  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

import train  # noqa: E402
from zoo.run.config import compose  # noqa: E402

SETTINGS = {"fastgan": ["data=digits", "data.image_size=64"]}
LAYOUTS = (torch.channels_last, torch.contiguous_format)


class Turns(L.Callback):
    """Lets one network have both layouts in turn, and times the steps of each."""

    def __init__(self, names: list[str], *, rounds: int, steps: int) -> None:
        self.schedule = [(name, k) for _ in range(rounds) for name in names for k in (0, 1)]
        self.steps, self.seconds = steps, {(name, k): [] for name in names for k in (0, 1)}  # type: ignore[var-annotated]
        self.place = -1

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        place, within = divmod(batch_idx, self.steps + 1)  # the first step of a segment is not timed
        if within == 0:
            name, k = self.schedule[place]
            pl_module.to(memory_format=torch.channels_last)
            getattr(pl_module, name).to(memory_format=LAYOUTS[k])
        if within == 1:
            self.start = time.process_time()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        place, within = divmod(batch_idx, self.steps + 1)
        if within == self.steps:
            self.seconds[self.schedule[place]].append((time.process_time() - self.start) / self.steps)


def convolves(network: nn.Module) -> bool:
    """Whether it trains weights that have a layout."""
    return any(parameter.dim() == 4 and parameter.requires_grad for parameter in network.parameters())


def measure(overrides: list[str], *, rounds: int, steps: int) -> dict[str, list[float]]:
    """Contiguous over channels-last in each round, for each network."""
    L.seed_everything(1, verbose=False)
    cfg = compose(*overrides, "metrics=none")
    datamodule, model = train.build(cfg)
    datamodule.prepare_data()
    datamodule.setup("fit")
    batch = next(iter(datamodule.train_dataloader()))
    names = [name for name, network in model.named_children() if convolves(network)]
    clock = Turns(names, rounds=rounds, steps=steps)
    off: dict[str, Any] = dict.fromkeys(
        ["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False
    )
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, callbacks=[clock], **off)
    moved = datamodule.on_after_batch_transfer(batch, 0)
    trainer.fit(model, DataLoader([moved] * (len(clock.schedule) * (steps + 1)), batch_size=None))  # type: ignore[arg-type]
    return {
        name: [b / a for a, b in zip(clock.seconds[name, 0], clock.seconds[name, 1], strict=True)] for name in names
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="SETTING", help="train.py's; by default every model's own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    models = sorted(path.stem for path in (ROOT / "conf/model").glob("*.yaml"))
    rows = [asked.settings] if asked.settings else [[f"model={name}", *SETTINGS.get(name, [])] for name in models]
    print(f"torch {torch.__version__}, 1 thread, {asked.rounds} rounds of {asked.steps} steps")
    for row in rows:
        for name, ratios in measure(row, rounds=asked.rounds, steps=asked.steps).items():
            spread = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
            print(f"{' '.join(row):60} {name:12} {spread}", flush=True)


if __name__ == "__main__":
    main()
