"""Images a second on one process and on several, what travels between them, and what precision and compiling give.

    python benchmarks/scaling.py                                              # DCGAN 32x32, 1 and 2 processes, CPU
    python benchmarks/scaling.py --accelerator gpu --size 64 --width 128 --batch 128 --processes 1 8
    python benchmarks/scaling.py --accelerator gpu --size 64 --width 128 --batch 128 --processes 1 --settings

Every row trains DCGAN as `train.py` does (its model's configuration, zoo.game.strategy.TurnDDP where there are several
processes, its data modules' batches) on random images in memory, `--batch` images for each process, so that the work of
a process is the same in every row (weak scaling). On CPUs each process has one thread. Rows are separate processes,
interleaved in rounds, their order rotated; ratios are taken within a round against its first row, the table has the
median and in brackets the lowest and the highest. Not timed: the start, and the first WARMUP steps, in which networks
are compiled. Bytes are those that `TurnDDP.averaging` hands to all_reduce, counted in it, over those of the
parameters that were stepped: 1.00 is each player's gradient once in its turn, and nothing else.

How time and memory grow with the images of a set, on one process and on several, says benchmarks/growth.py.

`--settings` compares float32 eager, bf16-mixed, compile and both on the first number of processes instead.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
WARMUP = 8  # steps

Row = tuple[int, str, bool]  # processes, precision, compile


def measure(row: Row, options: argparse.Namespace) -> None:
    """Train one row and print {"images": a second, "bytes": {player: reduced over its own}, "parts": what a step is
    made of, on one process} as the last line."""
    import lightning as L
    import torch
    import turns
    from hydra.utils import instantiate

    from zoo.batch import LabelledImages
    from zoo.data.images import Images
    from zoo.data.module import DataModule
    from zoo.data.sources import Arrays, Memory, Split, resize
    from zoo.game.strategy import TurnDDP
    from zoo.run.config import compose

    def random_images() -> dict[Split, Arrays]:
        shape = (4 * options.batch * row[0], 3, options.size, options.size)
        images = torch.randint(0, 256, shape, dtype=torch.uint8)
        return {"train": Arrays(images, torch.zeros(len(images), dtype=torch.int64), resize)}

    class Meter(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
            if index + 1 in (WARMUP, WARMUP + options.steps):
                if options.accelerator == "gpu":
                    torch.cuda.synchronize()
                self.times = [*getattr(self, "times", []), time.perf_counter()]
            trainer.should_stop = index + 1 == WARMUP + options.steps

        def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            if trainer.is_global_zero:
                sent, steps = getattr(trainer.strategy, "bytes_reduced", {}), WARMUP + options.steps
                ratios = {
                    player: sent.get(player, 0) / (steps * sum(p.numel() * p.element_size() for _, p in named))
                    for player, named in pl_module._parameters_of.items()
                }
                images = options.batch * processes * options.steps / (self.times[1] - self.times[0])
                self.found = {"images": images, "bytes": ratios}

    processes, precision, compiled = row
    torch.set_num_threads(1 if options.accelerator == "cpu" else torch.get_num_threads())
    L.seed_everything(1, verbose=False)
    size = [f"data.image_size={options.size}", "data.channels=3", f"model.width={options.width}"]
    cfg = compose("model=dcgan", *size)
    model = instantiate(cfg.model, _convert_="all")
    if compiled:
        model.compile_networks()
    backend = "gloo" if options.accelerator == "cpu" else "nccl"
    trainer = L.Trainer(
        accelerator=options.accelerator,
        devices=processes,
        precision=precision,  # type: ignore[arg-type]
        strategy=TurnDDP(process_group_backend=backend) if processes > 1 else "auto",
        max_epochs=-1,
        logger=False,
        callbacks=[meter := Meter()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
    )
    settings: Any = {
        **{"image_size": options.size, "channels": 3, "batch_size": options.batch * processes},
        **{"num_workers": 0, "flip": False, "seed": 1, "cache_dir": ""},
    }
    trainer.fit(model, DataModule(partial(Memory, make=random_images), Images, settings))
    if not trainer.is_global_zero:
        return
    noise = torch.rand(options.batch, 3, options.size, options.size) * 2 - 1
    batch = LabelledImages(noise, torch.zeros(options.batch, dtype=torch.int64), torch.arange(options.batch))
    device = "cuda" if options.accelerator == "gpu" else "cpu"
    if processes == 1:
        with turns.fitting(model, batch, device=device) as loop:
            meter.found["parts"] = turns.parts(loop, steps=2, device=device)
    print(json.dumps(meter.found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64, help="images of each process")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", action="store_true", help="precision and compile instead of processes")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        return measure(tuple(json.loads(options.row)), options)

    rows: list[Row] = [(n, "32-true", False) for n in options.processes]
    if options.settings:
        rows = [(options.processes[0], p, c) for p in ("32-true", "bf16-mixed") for c in (False, True)]
    measured: dict[Row, list[dict[str, Any]]] = {row: [] for row in rows}
    for turn in range(options.rounds):
        for row in rows[turn % len(rows) :] + rows[: turn % len(rows)]:
            command = [sys.executable, *sys.argv, "--row", json.dumps(row)]
            environment = os.environ | ({"OMP_NUM_THREADS": "1"} if options.accelerator == "cpu" else {})
            result = subprocess.run(command, env=environment, capture_output=True, text=True)
            if result.returncode:
                sys.exit(result.stderr)
            measured[row].append(json.loads(result.stdout.splitlines()[-1]))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.accelerator}")
    print("processes  precision   compile  images/s  ratio                bytes in a turn / the player's")
    for row in rows:
        ratios = [a["images"] / b["images"] for a, b in zip(measured[row], measured[rows[0]], strict=True)]
        images = statistics.median(a["images"] for a in measured[row])
        spread = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
        sent = "  ".join(f"{p} {b:.2f}" for p, b in measured[row][0]["bytes"].items()) if row[0] > 1 else "-"
        print(f"{row[0]:<9}  {row[1]:<10}  {row[2]!s:<7}  {images:>8.0f}  {spread:<19}  {sent}")
    for row in rows:
        if "parts" in measured[row][0]:
            print(f"{row[0]} {row[1]} {row[2]}: {measured[row][0]['parts']}")


if __name__ == "__main__":
    main()
