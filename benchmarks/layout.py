"""What the memory layout of each network costs on this CPU: contiguous (NCHW) against channels-last (NHWC).

    python benchmarks/layout.py                                  # every variant at its default setting
    python benchmarks/layout.py model=pix2pix scale=paper data.image_size=128

A step with one of the networks contiguous and all others channels-last, over a step with all of them channels-last:
below 1, that network should say `channels_last_on_cpu = False`, as zoo.networks.translators.UNet does. Segments of
--steps steps alternate in one process, on the same batch; the table has the median over --rounds, and in brackets the
lowest and the highest ratio. Timed is the processor's time of one thread, which other programs disturb little.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import lightning as L  # noqa: E402
import torch  # noqa: E402
import turns  # noqa: E402
from torch import nn  # noqa: E402

import train  # noqa: E402
from zoo.run.config import compose  # noqa: E402

SETTINGS = {"fastgan": ["data=digits", "data.image_size=64"]}


def convolves(network: nn.Module) -> bool:
    """Whether it trains weights that have a layout."""
    return any(parameter.dim() == 4 and parameter.requires_grad for parameter in network.parameters())


def measure(overrides: list[str], *, rounds: int, steps: int) -> tuple[dict[str, turns.Ratios], str]:
    """Contiguous over channels-last in each round, for each network; and what a step is made of."""
    L.seed_everything(1, verbose=False)
    datamodule, model = train.build(compose(*overrides, "metrics=none"))
    datamodule.prepare_data()
    datamodule.setup("fit")
    batch = datamodule.on_after_batch_transfer(next(iter(datamodule.train_dataloader())), 0)
    names = [name for name, network in model.named_children() if convolves(network)]
    now = turns.clock("cpu")
    with turns.fitting(model, batch) as loop:

        def arm(name: str, layout: torch.memory_format) -> float:
            """Seconds of some steps with one network in this layout; of a first one nothing is counted."""
            model.to(memory_format=torch.channels_last)
            getattr(model, name).to(memory_format=layout)
            loop(1)
            start = now()
            loop(steps)
            return now() - start

        made_of = turns.parts(loop, steps=1)
        ratios = {name: turns.Ratios() for name in names}
        for name in [name for _ in range(rounds) for name in names]:
            last, first = (arm(name, layout) for layout in (torch.channels_last, torch.contiguous_format))
            ratios[name].append(first / last)
    return ratios, made_of


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
        found, made_of = measure(row, rounds=asked.rounds, steps=asked.steps)
        for name, ratios in found.items():
            print(f"{' '.join(row):60} {name:12} {turns.spread(ratios)}", flush=True)
        print(f"{'':60} {made_of}", flush=True)


if __name__ == "__main__":
    main()
