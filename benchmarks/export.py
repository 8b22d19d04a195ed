"""Every variant as an ONNX file: how far its images are from the model's, and how fast it is beside torch.

    python benchmarks/export.py                                     # each variant as conf/ has it, untrained
    python benchmarks/export.py cyclegan srgan data.channels=1      # these, with settings
    python benchmarks/export.py --run outputs/dcgan-mnist5k/2026-01-31_12-00-00
    python benchmarks/export.py --format .pt2

difference  the largest of any pixel of images in [0, 1], over the batches and sizes that `zoo export` tries; and of one
            more image of 256 pixels a side, where images go in
speed       times as fast as torch, on one thread: a batch of 16 latents, or an image of 128 pixels a side. Both take
            turns, and the best of `--rounds` counts

The rows are those of the table in docs/weights.md. An untrained network has the arithmetic of a trained one; figures of
trained ones are those of --run.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

import train  # noqa: E402
import zoo  # noqa: E402
from zoo.game.abilities import FromLatents, Translates, Upscales  # noqa: E402
from zoo.run.config import compose  # noqa: E402
from zoo.use.export import export, runner, speed, task_of  # noqa: E402


def row(name: str, model: Any, suffix: str, rounds: int) -> str:
    """A row of the table of one model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"model{suffix}")
        difference = export(model, path).difference
        if not isinstance(model, FromLatents):
            difference = max(difference, of_large(model, path))
        of_torch, of_file = speed(model, path, rounds=rounds)
        size = path.stat().st_size / 1e6
    return f"| {name} | {difference:.1e} | {of_torch / of_file:.2f} | {1000 * of_file:.1f} ms | {size:.1f} MB |"


@torch.no_grad()
def of_large(model: Any, path: Path) -> float:
    """The largest difference on a smooth image of 256 pixels a side."""
    task = task_of(model)
    shape = task.example["images"].shape
    coarse = torch.rand(1, shape[1], 9, 9, generator=torch.Generator().manual_seed(4))
    image = torch.nn.functional.interpolate(coarse, size=(256, 256), mode="bicubic").clamp(0, 1)
    return float((runner(path, ["images"])({"images": image}) - task.module(image)).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="variants (all, if none is named) and settings, NAME=VALUE")
    parser.add_argument("--run", action="append", default=[], help="a trained model in place of variants")
    parser.add_argument("--format", default=".onnx", help=".onnx, .pt2 or .pt")
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    settings = [word for word in args.words if "=" in word]
    named = [word for word in args.words if "=" not in word]
    print("| model | largest difference | times as fast as torch | a batch | file |\n|---|---|---|---|---|", flush=True)
    for run in args.run:
        print(row(run, zoo.load(run), args.format, args.rounds), flush=True)
    if args.run:
        return
    for variant in named or sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")):
        torch.manual_seed(0)
        model = train.build(compose(f"model={variant}", *settings))[1].eval()
        if isinstance(model, FromLatents | Translates | Upscales):
            print(row(variant, model, args.format, args.rounds), flush=True)


if __name__ == "__main__":
    main()
