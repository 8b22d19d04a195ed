"""What a start is worth where images are few: 300 digits of another kind, from a start and from scratch.

    python benchmarks/fine_tuning.py RUN                        # of model=dcgan on data=mnist5k, or its published name
    python benchmarks/fine_tuning.py RUN --freeze 2 --seeds 1 2

The start has learnt MNIST's digits: 28x28 pixels of grey, pens of the 1980s. The 300 are the first 30 of each class of
data=digits (Alpaydin & Kaynak 1998, doi:10.24432/C50P49): 8x8 pixels of 17 levels, other writers, enlarged to 32x32.
They are written as PNGs, and trained on as a user would. `fid_mnist` is that to the other 1,497 digits, which no run
has seen, 5,000 generated images, at equal images; at 0 it is that of the start itself. The picture shows the 300, from
scratch, and from the start.
"""

import argparse
from pathlib import Path

import torch
from torchvision.utils import make_grid, save_image

import zoo
from zoo.data.embedded import digits, digits_size
from zoo.run.config import compose, plain

PER_CLASS, SIDE = 30, 32


def write(folder: Path) -> None:
    """The 300 as FOLDER/few/*.png, the others as FOLDER/others/*.png."""
    if folder.exists():
        return
    images, labels = (torch.cat([getattr(part, name) for part in digits().values()]) for name in ("images", "labels"))
    seen = dict.fromkeys(range(10), 0)
    for name in ("few", "others"):
        (folder / name).mkdir(parents=True)
    for k, (image, label) in enumerate(zip(digits_size(images, (SIDE, SIDE)), labels.tolist(), strict=True)):
        seen[label] += 1
        part = "few" if seen[label] <= PER_CLASS else "others"
        save_image(image.float() / 255, folder / part / f"{k:04}-{label}.png")


def distance(model: object, folder: Path) -> float:
    """fid_mnist of a model to the digits that it has not seen."""
    from hydra.utils import instantiate

    cfg = compose("data=folder", "metrics=mnist", f"data.root={folder / 'others'}", "data.channels=1", "seed=1")
    parts = {name: instantiate(plain(cfg)[name], _convert_="all") for name in ("data", "metrics")}
    data = parts["data"]
    data.prepare_data()
    data.setup("fit")
    return float(parts["metrics"].evaluate(model.preview, data, device="cpu").values["fid_mnist"])  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", metavar="RUN")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--freeze", type=int, nargs="*", default=[], help="FreezeD with so many layers, beside")
    parser.add_argument("--folder", type=Path, default=Path("outputs/fine-tuning"))
    parser.add_argument("-o", "--output", type=Path, default=Path("fine-tuning.png"))
    options = parser.parse_args()

    images = options.folder / "images"
    write(images)
    data = ["data=folder", f"data.root={images / 'few'}", "data.channels=1", "data.batch_size=16"]
    common = [*data, "metrics=none", f"max_images={options.images}", "logger=csv", "trainer=cpu"]
    ways = {"from scratch": [], "from the start": [f"start={options.start}"]}
    ways |= {f"FreezeD {n}": [f"start={options.start}", f"model.freeze_d={n}"] for n in options.freeze}
    lines, grids = [f"the start: fid_mnist {distance(zoo.load(options.start), images):.2f}"], {}
    for way, settings in ways.items():
        for seed in options.seeds:
            run = options.folder / f"{way.replace(' ', '-')}-{seed}-{options.images}"
            last = run / "checkpoints" / "last.ckpt"
            if not last.exists():
                zoo.train(*common, *settings, f"seed={seed}", f"hydra.run.dir={run}")
            model = zoo.load(last)
            lines.append(f"{way}, seed {seed}, {model.images:,} images: fid_mnist {distance(model, images):.2f}")
            grids.setdefault(way, model.sample(64))
    real = sorted((images / "few").glob("*.png"))[:64]
    from torchvision.io import ImageReadMode, read_image

    columns = [torch.stack([read_image(str(p), ImageReadMode.GRAY) for p in real]) / 255]
    columns += [grids[way] for way in ("from scratch", "from the start")]
    panels = [make_grid(column, nrow=8, padding=1, pad_value=0.3) for column in columns]
    save_image(make_grid(panels, nrow=3, padding=8, pad_value=1.0), options.output)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
