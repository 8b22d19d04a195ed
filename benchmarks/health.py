"""What looking at the health of the game costs: the share of a run that is spent in zoo.run.callbacks.health.

    python benchmarks/health.py                                   # the default run, a fifth of its budget
    python benchmarks/health.py model=cgan max_images=60_000      # whatever follows goes to train.py

One run of `train.py`, in this process, whose health callback is timed in each hook, against the seconds from the first
step to the last, evaluation included (`with`) and left out (`without`). Loading the images that are looked at is
counted too: it happens once, at the start.
"""

import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> None:
    import hydra
    import torch

    from train import run
    from zoo.run.callbacks.evaluate import Evaluate
    from zoo.run.callbacks.health import Health

    seconds: dict[tuple[type, str], float] = {}

    def timed(kind: type, hook: str) -> None:
        inner = getattr(kind, hook)

        def outer(self: Any, *args: Any) -> None:
            start = time.perf_counter()
            inner(self, *args)
            seconds[kind, hook] = seconds.get((kind, hook), 0.0) + time.perf_counter() - start

        setattr(kind, hook, outer)

    for hook in ("on_train_start", "on_train_batch_end", "on_evaluation"):
        timed(Health, hook)
    for hook in ("on_train_start", "on_train_batch_end", "on_train_end"):
        timed(Evaluate, hook)
    with tempfile.TemporaryDirectory() as folder:
        with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            overrides = ["max_images=30_000", "logger=csv", f"run_dir={folder}", "callbacks.report.overrides=[]"]
            cfg = hydra.compose("train", [*overrides, *sys.argv[1:]])
        start = time.perf_counter()
        trainer = run(cfg)
        whole = time.perf_counter() - start
    health = sum(spent for (kind, _), spent in seconds.items() if kind is Health)
    evaluation = sum(spent for (kind, _), spent in seconds.items() if kind is Evaluate)
    evaluation -= seconds.get((Health, "on_evaluation"), 0.0)  # which happens within it
    looks = len(next(c for c in trainer.callbacks if isinstance(c, Health)).history)  # type: ignore[attr-defined]
    print(
        f"\n{platform.processor() or platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    print(f"{looks} looks in {health:.2f} s, run of {whole:.1f} s, evaluation {evaluation:.1f} s of it")
    print(
        f"share with evaluation {health / whole:.2%}, without {health / (whole - evaluation - health):.2%}; target: 2 %"
    )


if __name__ == "__main__":
    main()
