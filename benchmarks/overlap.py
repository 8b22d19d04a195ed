"""What it gives to average gradients during the backward pass rather than after it, on links of several speeds.

    python benchmarks/overlap.py                        # DCGAN and StyleGAN-lite, 100 Mbit/s to 10 Gbit/s
    python benchmarks/overlap.py model=fastgan data=digits data.image_size=64 --megabits 500

One process of one thread trains as each of two on trainer=ddp_cpu does, gradients through zoo.game.exchange included;
what stands in for all_reduce sends nothing, but keeps the books of a link: a message begins when the one before it is
through, and takes LATENCY and the time of its bytes, which for two ranks is what each of them sends. The clock is the
processor's time of the thread, and the time for which it would have waited: other programs disturb that little, and one
run is on links of all speeds at once. What two real ranks lose besides, to each other's pace and to moving the bytes,
is not in it.

Segments of --steps steps alternate in one run, with all gradients sent after the backward pass, in buckets of 25 MiB,
and with zoo.game.exchange; the ratio is the first's time over the second's, the median over --rounds, and in brackets
the lowest and the highest. Above 1, averaging during the pass is faster. Below each table stands what a step on its own
is made of.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import lightning as L  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import turns  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

import train  # noqa: E402
from zoo.game.exchange import Mean, buckets  # noqa: E402
from zoo.game.strategy import TurnDDP  # noqa: E402
from zoo.run.config import compose  # noqa: E402

SETTINGS = (
    "model=dcgan data=digits data.image_size=64 scale=medium data.batch_size=16",
    "model=stylegan_lite data=digits data.image_size=32 scale=medium data.batch_size=4 regularizer=none",
)
LATENCY = 1e-4  # seconds
WARMUP = 3  # steps: the ranks compare what has gradients


@dataclass
class Link:
    """A link, and the clock of a thread that waits for it."""

    megabits: float  # a second
    waited: float = 0.0  # seconds
    free: float = 0.0  # when it is

    def now(self) -> float:
        return time.thread_time() + self.waited

    def send(self, nbytes: int) -> float:
        """When that has arrived."""
        self.free = max(self.free, self.now()) + LATENCY + nbytes * 8e-6 / self.megabits
        return self.free

    def wait(self, until: float) -> None:
        self.waited += max(0.0, until - self.now())


class Message:
    """What stands in for an all_reduce, on all links at once."""

    links: Sequence[Link] = ()

    def __init__(self, tensor: Tensor, async_op: bool = False, **options: Any) -> None:
        self.arrivals = [(link, link.send(tensor.nbytes)) for link in self.links]
        if not async_op:
            self.wait()

    def wait(self) -> None:
        for link, arrival in self.arrivals:
            link.wait(arrival)


class EitherWay(TurnDDP):
    during = True

    @contextmanager
    def averaging(
        self, player: str, parameters: Sequence[tuple[str, nn.Parameter]], objective: Tensor
    ) -> Iterator[None]:
        if self.during:
            with super().averaging(player, parameters, objective):
                yield
            return
        yield
        gradients = [p.grad for _, p in parameters if p.grad is not None]
        for bucket in buckets([*gradients, objective], 25 * 2**20):
            Mean(bucket).wait()


class Segments(L.Callback):
    """Takes both ways in turn, and times the steps of each on every link."""

    def __init__(self, *, rounds: int, steps: int) -> None:
        self.ways = [way for k in range(rounds) for way in ((False, True) if k % 2 else (True, False))]
        self.steps = steps
        self.seconds: dict[bool, list[list[float]]] = {False: [], True: []}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        place, within = divmod(batch_idx - WARMUP, self.steps)
        if batch_idx >= WARMUP and within == 0:
            trainer.strategy.during = self.ways[place]  # type: ignore[attr-defined]
            self.starts = [link.now() for link in Message.links]

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        place, within = divmod(batch_idx - WARMUP, self.steps)
        if batch_idx >= WARMUP and within == self.steps - 1:
            taken = [(link.now() - start) / self.steps for link, start in zip(Message.links, self.starts, strict=True)]
            self.seconds[self.ways[place]].append(taken)


def measure(overrides: list[str], *, rounds: int, steps: int) -> tuple[list[tuple[float, float, turns.Ratios]], str]:
    """For each link the seconds of a step after and during, and the ratio of each round; what a step is made of."""
    L.seed_everything(1, verbose=False)
    data, gan = train.build(compose(*overrides, "metrics=none"))
    data.prepare_data()
    data.setup("fit")
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    segments = Segments(rounds=rounds, steps=steps)
    off: dict[str, Any] = dict.fromkeys(
        ["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "use_distributed_sampler"],
        False,
    )
    strategy = EitherWay(process_group_backend="gloo")
    trainer = L.Trainer(accelerator="cpu", devices=1, strategy=strategy, max_epochs=1, callbacks=[segments], **off)
    trainer.fit(gan, DataLoader([batch] * (WARMUP + 2 * rounds * steps), batch_size=None))  # type: ignore[arg-type]
    found = []
    for after, during in zip(*(zip(*segments.seconds[way], strict=True) for way in (False, True)), strict=True):
        ratios = [a / b for a, b in zip(after, during, strict=True)]
        found.append((statistics.median(after), statistics.median(during), ratios))
    with turns.fitting(gan, batch) as loop:  # on its own
        return found, turns.parts(loop, steps=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="SETTING", help="train.py's; by default two models'")
    parser.add_argument("--megabits", type=float, nargs="+", default=[100, 250, 500, 1000, 2500, 10_000])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    dist.all_reduce = Message  # type: ignore[assignment]
    print(f"torch {torch.__version__}, 1 thread, {asked.rounds} rounds of {asked.steps} steps")
    for overrides in [asked.settings] if asked.settings else [setting.split() for setting in SETTINGS]:
        Message.links = [Link(megabits) for megabits in asked.megabits]
        print(" ".join(overrides), "Mbit/s   after  during  ratio", sep="\n")
        found, made_of = measure(overrides, rounds=asked.rounds, steps=asked.steps)
        for link, (after, during, ratios) in zip(Message.links, found, strict=True):
            print(f"{link.megabits:6.0f}  {after:6.3f}  {during:6.3f}  {turns.spread(ratios)}")
        print(made_of, flush=True)


if __name__ == "__main__":
    main()
