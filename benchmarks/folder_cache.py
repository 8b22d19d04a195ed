"""Images a second from a folder of large JPEGs: decoded in every epoch, against read from the cache.

    python benchmarks/folder_cache.py                               # 2,000 made JPEGs of 512 pixels, at 128
    python benchmarks/folder_cache.py --root ~/faces --size 256 --workers 0 8

One row for each number of workers: a pass over the batches, from the folder and from the cache (zoo/data/cache.py),
and their ratio. Above them what the conversion took, once. Rounds are interleaved, so that a machine that slows down
slows down both; the table has medians, and the lowest and the highest round in brackets. The files were read before,
so neither side waits for the disk.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from zoo.data.folder import ImageFolder  # noqa: E402
from zoo.data.pixels import photographs as photographs_inside  # noqa: E402


def make(folder: Path, number: int, side: int) -> None:
    """JPEGs cut from the photographs that come with the package: `number` of `side` pixels."""
    of_name = photographs_inside()
    photographs = [Image.open(of_name[name]) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    draw = np.random.default_rng(0)
    for i in range(number):
        photograph = photographs[i % len(photographs)]
        cut = int(draw.integers(120, min(photograph.size)))
        x, y = (int(draw.integers(0, whole - cut + 1)) for whole in photograph.size)
        image = photograph.resize((side, side), Image.Resampling.BILINEAR, (x, y, x + cut, y + cut))
        image.convert("RGB").save(folder / f"{i:05}.jpg", quality=90)


def one_pass(data: ImageFolder) -> float:
    """Images a second, workers' start included."""
    images = data.split("train")
    start, seen = time.perf_counter(), 0
    for batch in data.evaluation_loader(split="train", num=len(images), batch_size=64):
        seen += len(batch.image)
    return seen / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, help="a folder of images, instead of made ones")
    parser.add_argument("--size", type=int, default=128, help="to train at")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.root
        if root is None:
            root = Path(folder, "jpegs")
            root.mkdir()
            make(root, 2_000, 512)

        def data(workers: int, cache: bool) -> ImageFolder:
            return ImageFolder(
                root=str(root), fit="crop", background="white", on_error="raise", max_pixels=10**8, memory_limit_mb=0,
                cache=cache, test_fraction=0.0, image_size=arguments.size, channels=3, batch_size=64,
                num_workers=workers, flip=False, seed=1, cache_dir=str(Path(folder, "cache")),
            )  # fmt: skip

        start = time.perf_counter()
        data(0, True).prepare_data()
        print(f"converted in {time.perf_counter() - start:.1f} s")
        print(f"{'workers':>8}{'folder, images/s':>28}{'cache, images/s':>28}{'ratio':>22}")
        for workers in arguments.workers:
            sides = [data(workers, cache) for cache in (False, True)]
            rounds = [[one_pass(side) for side in sides] for _ in range(arguments.rounds)]
            columns = [*zip(*rounds, strict=True), [cached / folder for folder, cached in rounds]]
            shown = [f"{statistics.median(c):,.0f} ({min(c):,.0f} to {max(c):,.0f})" for c in columns]
            print(f"{workers:>8}{shown[0]:>28}{shown[1]:>28}{shown[2]:>22}", flush=True)


if __name__ == "__main__":
    main()
