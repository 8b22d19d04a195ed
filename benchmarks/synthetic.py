"""Do samples of a conditional GAN help a classifier that has few real images? The GAN sees the same few, and no more.

    python benchmarks/synthetic.py -o outputs/synthetic                       # the embedded digits
    python benchmarks/synthetic.py -o outputs/synthetic --sizes 50 --seeds 1 2
    python benchmarks/synthetic.py -o OUT --data cifar10 data.root=cifar10.npz data.image_size=32

Of the training images of a set, for each size and seed, equally many of each class are drawn. On them `experiment=
cgan_few` trains a conditional GAN; and then one small classifier (that of scripts/classification_accuracy.py) is
trained three times on

    real         the few real images
    both         these and samples of the GAN, half of each batch on average
    synthetic    samples alone

All see equally many images, moved by up to two pixels, in batches of the same size, by the same schedule and seed, and
are tested on all test images of the set. `both - real` is paired: the same images, the same initial weights. Its 95 %
interval over seeds is Student's; where it has 0 in it, nothing was shown.

Whatever is finished is in OUT/results.json, written after each training; called again with the same settings, the
program goes on from there, in the middle of a GAN's training too.
"""

import argparse
import importlib.util
import json
import math
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from zoo.atomic import replacing  # noqa: E402
from zoo.metrics.estimate import student  # noqa: E402

ARMS = ("real", "both", "synthetic")


def classification() -> Any:
    """scripts/classification_accuracy.py, whose classifier is used here."""
    file = ROOT / "scripts" / "classification_accuracy.py"
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def few(labels: Tensor, size: int, classes: int, seed: int) -> Tensor:
    """Rows of `size` images, equally many of each class, those of a smaller size being among those of a larger one.

    Raises:
        ValueError: the size can't be shared among the classes, or a class has fewer.
    """
    each, rest = divmod(size, classes)
    if each < 1 or rest:
        nearest = max(classes, size // classes * classes)
        raise ValueError(f"--sizes {size} is not equally many of {classes} classes: give {nearest}")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    rows = [order[labels[order] == label][:each] for label in range(classes)]
    if short := [label for label, of_class in enumerate(rows) if len(of_class) < each]:
        least = min(int((labels == label).sum()) for label in range(classes))
        remedy = f"give --sizes {least * classes} or less" if least else "add images of it"
        few = f"--sizes {size} needs {each} of each class, and class {short[0]} has {len(rows[short[0]])}"
        raise ValueError(f"{few}: {remedy}")
    return torch.cat(rows)


def train_gan(folder: Path, images: Tensor, labels: Tensor, args: argparse.Namespace, seed: int) -> Path:
    """The run of a GAN on these images uint8 [N, C, H, W], trained or, where it was begun before, ended."""
    run = folder / "run"
    if (folder / "trained").exists():
        return run
    if (run / "checkpoints" / "last.ckpt").exists():
        command = [f"resume={run}", f"max_images={args.images}"]
    else:
        shutil.rmtree(run, ignore_errors=True)  # stopped before it had anything to go on from
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "few.npz") as part, part.open("wb") as file:
            np.savez(file, images=images.permute(0, 2, 3, 1).numpy(), labels=labels.numpy())
        size = "[" + ",".join(map(str, images.shape[2:])) + "]"
        command = [
            *("experiment=cgan_few", f"data.root={folder / 'few.npz'}", f"data.channels={images.shape[1]}"),
            *(f"data.image_size={size}", f"data.batch_size={min(8, len(images))}", f"max_images={args.images}"),
            *(f"seed={seed}", f"run_dir={run}", "logger=none", "~callbacks.report", *args.train),
        ]
    with (folder / "train.log").open("a") as log:
        subprocess.run([sys.executable, str(ROOT / "train.py"), *command], cwd=ROOT, stdout=log, stderr=log, check=True)
    (folder / "trained").touch()
    return run


def samples(run: Path, number: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Of a GAN's run: images uint8 [number, C, H, W], of each class in turn, and labels int64 [number]."""
    import zoo

    labels = torch.arange(number) % classes
    made = zoo.load(run).sample(number, seed=1_000_000 * (seed + 1), labels=labels.tolist())
    return (made * 255).round().to(torch.uint8), labels


def half_and_half(real: tuple[Tensor, Tensor], made: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Both, the smaller one repeated until it is as large as the larger one, to within its own length."""
    length = max(len(real[1]), len(made[1]))
    parts = [(x.repeat(length // len(y), 1, 1, 1), y.repeat(length // len(y))) for x, y in (real, made)]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the ends of Student's 95 % interval of it; NaN ends of a single value."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return mean, math.nan, math.nan
    reach = student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - reach, mean + reach


def verdict(low: float, high: float) -> str:
    """What an interval of a difference says."""
    return "helps" if low > 0 else "harms" if high < 0 else "nothing shown"


def written(mean: float, low: float, high: float, sign: str = "") -> str:
    """A mean and its interval, which a single value has none of."""
    return f"{mean:{sign}.2f}" + ("" if math.isnan(low) else f" [{low:{sign}.2f}, {high:{sign}.2f}]")


def table(results: list[dict[str, Any]]) -> list[str]:
    """Lines of a Markdown table, a row for each size."""
    head = "| real images | seeds | real | both | synthetic | both - real | |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for size in sorted({row["size"] for row in results}):
        of_arm = {
            arm: {r["seed"]: 100 * r["accuracy"] for r in results if r["size"] == size and r["arm"] == arm}
            for arm in ARMS
        }
        seeds = sorted(set.intersection(*(set(values) for values in of_arm.values())))
        if not seeds:
            continue
        cells = []
        for arm in ARMS:
            cells.append(written(*interval([of_arm[arm][seed] for seed in seeds])))
        mean, low, high = interval([of_arm["both"][seed] - of_arm["real"][seed] for seed in seeds])
        cells += [written(mean, low, high, "+"), verdict(low, high)]
        lines.append(f"| {size:,} | {len(seeds)} | {' | '.join(cells)} |")
    return lines


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Train what is missing, print the table, and return the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder")
    parser.add_argument("--data", default="mnist5k", help="a choice of data= with classes")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 1000], help="real images, all classes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--images", type=int, default=40_000, help="shown to the GAN's discriminator")
    parser.add_argument("--shown", type=int, default=20_000, help="training images shown to each classifier")
    parser.add_argument("--samples", type=int, default=4_000, help="of a GAN")
    parser.add_argument("--train", nargs="*", default=[], help="more settings of the GAN's training, as train.py has")
    parser.add_argument("overrides", nargs="*", help="settings of the data, such as data.root=FILE")
    args = parser.parse_intermixed_args(arguments)
    script = classification()
    settings = {
        **{name: getattr(args, name) for name in ("data", "images", "shown", "samples", "train", "overrides")},
    }
    output = args.output.expanduser().resolve()
    file = output / "results.json"
    kept = json.loads(file.read_text()) if file.exists() else {"settings": settings, "results": []}
    if kept["settings"] != settings:
        changed = ", ".join(name for name in settings if kept["settings"].get(name) != settings[name])
        raise ValueError(f"{file} has results of other settings ({changed}): give another folder, -o")
    results: list[dict[str, Any]] = kept["results"]
    data = script.data_module([f"data={args.data}", *args.overrides])
    classes = data.num_classes
    if not classes:
        raise ValueError(f"--data {args.data} has no classes: give labelled images, such as --data mnist5k")
    everyone, test = (script.everything(data, split) for split in ("train", "test"))
    chosen = {(size, seed): few(everyone[1], size, classes, seed) for seed in args.seeds for size in args.sizes}
    for (size, seed), rows in chosen.items():
        missing = [arm for arm in ARMS if not any(_is(row, size, seed, arm) for row in results)]
        if not missing:
            continue
        real = everyone[0][rows], everyone[1][rows]
        run = train_gan(output / f"{size}-{seed}", *real, args, seed)
        made = samples(run, args.samples, classes, seed)
        sets = {"real": real, "both": half_and_half(real, made), "synthetic": made}
        for arm in missing:
            accuracy = script.accuracy(sets[arm], test, classes=classes, shown=args.shown, seed=seed)
            results.append({"size": size, "seed": seed, "arm": arm, "accuracy": accuracy})
            with replacing(file) as part:
                part.write_text(json.dumps({"settings": settings, "results": results}, indent=1))
            print(f"{size:>7,} real images, seed {seed}, {arm:<10}{accuracy:.2%}", flush=True)
    print(f"\naccuracy on {len(test[1]):,} test images, %, mean over seeds [95 % interval]")
    print("\n".join(table(results)))
    return results


def _is(row: dict[str, Any], size: int, seed: int, arm: str) -> bool:
    return (row["size"], row["seed"], row["arm"]) == (size, seed, arm)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(str(error))
