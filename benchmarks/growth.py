"""How time and memory grow with the images of a set: data, evaluation, checkpoint; and what ten million would need.

    python benchmarks/growth.py --plot growth.png
    python benchmarks/growth.py --images 1000 10000 --pixels 64 --processes 1 --only scan fingerprint

Folders of small made images are written into a temporary folder, one of each number and size, a few hundred different
files under as many names as there are images; a tenth of them is held out. Each row is measured in processes of its
own, which have one thread; several share the set as the ranks of a training do. Sizes beyond the first are measured
with the first number of processes, and only where the decoded images take no more than `--gib`.

    scan            the folder's files are listed and split
    fingerprint     what tells the set from others: names, sizes and times of the files
    first_start     all that happens before the first batch: both, and each file is decoded into the cache
    start           the same where the cache is there
    epoch           every training image once, from the cache, in batches
    reals           an evaluation's statistics of the real images, on the classifier of digits
    fakes           likewise of as many fakes, which are ready made: how fast a generator is says benchmarks/scaling.py
    fid             sums of as many features of Inception's length, of reals and fakes; the distance with its interval
    neighbours      precision, recall, density and coverage of such features, of 5,000 images at most
    memorisation    each training image's features, and whom each of 5,000 fakes is nearest to
    save, load      a checkpoint of a DCGAN that trains on the set

Time is the processor's, of the process that takes most, so that what else the machine does is not counted; waiting for
a disk is not either. Memory is the largest of one process: its peak as the operating system counts it, beyond what it
had before, without the pages of mapped files, which the system takes back when it needs them.

The slope is that of the logarithms between the last two numbers of images: 1 grows as the images do, 2 as their square.
What a set of ten million needs is the straight line through the same two points.
"""

import argparse
import math
import multiprocessing
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice, product
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from PIL import Image  # noqa: E402

from train import run  # noqa: E402
from zoo.batch import Preview  # noqa: E402
from zoo.data.folder import ImageFolder  # noqa: E402
from zoo.metrics.distribution import MEASURES  # noqa: E402
from zoo.metrics.evaluation import Evaluation  # noqa: E402
from zoo.metrics.extractors import DigitClassifier  # noqa: E402
from zoo.metrics.measure import Seen  # noqa: E402
from zoo.metrics.side import Side  # noqa: E402
from zoo.run import checkpoint  # noqa: E402
from zoo.run.config import compose  # noqa: E402

DIFFERENT = 256  # files of a set, written again and again under other names
HELD_OUT = 0.1
PAIRS = 5_000  # images that what looks at pairs takes, at most: conf/metrics/inception.yaml
FEATURES = 2_048  # of Inception
QUICK = 3.0  # seconds: what takes less, its preparation included, is measured in three rounds
MANY = 10_000_000
LOADED = ["train", "lightning", "zoo.data.folder", "zoo.metrics.evaluation", "zoo.run.checkpoint", "zoo.run.config"]


class Case(NamedTuple):
    work: str
    images: int
    pixels: int
    processes: int


class Cost(NamedTuple):
    seconds: float
    bytes: float
    whole: float = 0.0  # seconds, its preparation included


class Place(NamedTuple):
    """Where a process works, and what of the work is its own."""

    case: Case
    folder: Path  # images/ and cache/
    rank: int

    def settings(self) -> dict[str, Any]:
        n, processes = self.case.images, self.case.processes
        return {
            **{"root": str(self.folder / "images"), "cache_dir": str(self.folder / "cache"), "cache": True},
            **{"memory_limit_mb": 0, "test_fraction": HELD_OUT, "image_size": self.case.pixels, "channels": 3},
            **{"batch_size": max(1, min(64, n // 2) // processes) * processes, "num_workers": 0, "flip": True},
            **{"labels": None, "label_column": None, "fit": "crop", "background": "white", "on_error": "raise"},
            **{"max_pixels": 10**8, "range": None, "seed": 1},
        }

    def data(self) -> ImageFolder:
        data = ImageFolder(**self.settings())  # type: ignore[arg-type]
        ranks = {"global_rank": self.rank, "world_size": self.case.processes, "num_devices": self.case.processes}
        data.trainer = SimpleNamespace(**ranks, training=True)  # type: ignore[assignment]
        return data

    def started(self) -> ImageFolder:
        """As Lightning starts it."""
        data = self.data()
        if self.rank == 0:
            data.prepare_data()
        together()
        data.setup("fit")
        return data


def together() -> None:
    if dist.is_initialized():
        dist.barrier()


# What is measured: each prepares, and gives what is to be timed ------------------------------------------------------

Work = Callable[[Place], Callable[[], Any]]


def scan(place: Place) -> Callable[[], Any]:
    return place.data().source.splits


def fingerprint(place: Place) -> Callable[[], Any]:
    splits = place.data().source.splits()
    return lambda: [content.digest() for content in splits.values()]


def first_start(place: Place) -> Callable[[], Any]:
    if place.rank == 0:
        shutil.rmtree(place.folder / "cache", ignore_errors=True)
    return place.started


def start(place: Place) -> Callable[[], Any]:
    place.started()
    return place.started


def epoch(place: Place) -> Callable[[], Any]:
    data = place.started()
    batches = len(data.split("train")) // data.batch_size
    return lambda: [
        data.on_after_batch_transfer(batch, 0) and None for batch in islice(data.train_dataloader(), batches)
    ]


def evaluated(place: Place, measure: str, *, num_real: int | None, num_fake: int) -> Callable[[], Any]:
    data = place.started()
    evaluation = Evaluation(
        extractor=DigitClassifier(), neighbours=3, prc_images=PAIRS, per_class=False, measures=[measure],
        split="train", num_real=num_real, num_fake=num_fake, batch_size=256, cache_dir=None,
    )  # fmt: skip
    evaluation.load()
    sides = place.case.pixels, place.case.pixels
    bank = 2 * torch.rand(64, 3, *sides, generator=torch.Generator().manual_seed(0)) - 1
    preview = lambda batch: {"samples": Preview(bank[batch.index % len(bank)], batch.image)}
    return lambda: evaluation.evaluate(preview, data, device="cpu")


def reals(place: Place) -> Callable[[], Any]:
    return evaluated(place, "fid", num_real=None, num_fake=min(256, place.case.images))


def fakes(place: Place) -> Callable[[], Any]:
    return evaluated(place, "fid", num_real=min(256, place.case.images // 2), num_fake=place.case.images)


def memorisation(place: Place) -> Callable[[], Any]:
    few = min(256, place.case.images // 2)
    return evaluated(place, "memorisation", num_real=few, num_fake=min(PAIRS, place.case.images))


class Ready:
    """An extractor of images that are features already."""

    num_features, classes, name, distance = FEATURES, (), "", "fid"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images


def sides(place: Place, drawn: int) -> list[Side]:
    side = lambda name: Side(name, place.case.images, extractor=Ready(), groups=1, drawn=drawn, home="cpu")  # type: ignore[arg-type]
    return [side("real"), side("fake")]


def fid(place: Place) -> Callable[[], Any]:
    both, rank, processes = sides(place, PAIRS), place.rank, place.case.processes
    features = torch.rand(256, FEATURES, generator=torch.Generator().manual_seed(rank))

    def count() -> Any:
        for side in both:
            for index in torch.arange(rank, side.num, processes).split(len(features)):
                side.add(features[: len(index)], index)
            if processes > 1:
                side.reduce()
        return MEASURES["fid"](3).values(Seen(*both, Ready(), paired=False)) if rank == 0 else None  # type: ignore[arg-type]

    return count


def neighbours(place: Place) -> Callable[[], Any]:
    both, generator = sides(place, PAIRS), torch.Generator().manual_seed(0)
    for side in both:
        side.table = torch.rand(side.table.shape, generator=generator)

    def look() -> Any:
        seen = Seen(*both, Ready(), paired=False, kept={})  # type: ignore[arg-type]
        of_rank_0 = ("precision_recall", "density_coverage") if place.rank == 0 else ()
        return [MEASURES[name](3).values(seen) for name in of_rank_0]

    return look


def trained(place: Place) -> Any:
    """The trainer of a run that has done its first steps on the set."""
    settings, run_dir = place.settings(), place.folder / "run"
    if place.rank == 0:
        shutil.rmtree(run_dir, ignore_errors=True)
    together()
    words = [f"data.{key}={'null' if value is None else value}" for key, value in settings.items() if key != "seed"]
    words = [word for word in words if not word.startswith(("data.cache_dir", "data.batch_size"))]
    several = place.case.processes > 1
    trainer = ["trainer=ddp_cpu", f"trainer.devices={place.case.processes}"] if several else ["trainer=cpu"]
    cfg = compose(
        "model=dcgan", "data=folder", *words, *trainer, "metrics=none", "logger=none",
        f"data.batch_size={4 * place.case.processes}", f"max_images={4 * place.case.processes}", f"run_dir={run_dir}",
        f"cache_dir={settings['cache_dir']}", "~callbacks.samples", "~callbacks.health", "~callbacks.report",
    )  # fmt: skip
    return run(cfg)


def save(place: Place) -> Callable[[], Any]:
    trainer, file = trained(place), place.folder / "run" / "again.ckpt"
    return lambda: trainer.save_checkpoint(file)


def load(place: Place) -> Callable[[], Any]:
    trained(place)
    return lambda: checkpoint.load(place.folder / "run" / "checkpoints" / "last.ckpt")


WORKS: dict[str, Work] = {
    work.__name__: work
    for work in (scan, fingerprint, first_start, start, epoch, reals, fakes, fid, neighbours, memorisation, save, load)
}
WITHOUT_PIXELS = ("scan", "fingerprint", "fid", "neighbours")  # which are measured at the first size alone


# A process of its own ------------------------------------------------------------------------------------------------


def memory() -> dict[str, int]:
    """Of this process, by the kernel's names, in bytes."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0][:-1]: 1024 * int(words[1]) for words in lines if words[2:] == ["kB"]}


def cost_of(run: Callable[[], Any]) -> Cost:
    """What it takes in this process."""
    with suppress(OSError):  # where the kernel does not allow it, the peak of the preparation counts too
        Path("/proc/self/clear_refs").write_text("5")  # the peak of before is forgotten: man proc
    together()
    before, began = memory(), time.process_time()
    run()
    together()
    seconds, after = time.process_time() - began, memory()
    mapped = max(0, after["RssFile"] - before["RssFile"])
    return Cost(seconds, max(0, after["VmHWM"] - before["VmRSS"] - mapped), time.process_time())


def child(place: Place, port: int, answer: Connection) -> None:
    torch.set_num_threads(1)
    case, rank = place.case, str(place.rank)
    if case.processes > 1:
        group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(case.processes)}
        os.environ |= group | {"NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        dist.init_process_group("gloo")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a run says
    answer.send(cost_of(WORKS[case.work](place)))


def once(case: Case, folder: Path) -> Cost:
    """Its cost in new processes.

    Raises:
        ValueError: one of them has failed, and has said why.
    """
    fresh = multiprocessing.get_context("forkserver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answers, processes = [], []
    for rank in range(case.processes):
        mine, its = fresh.Pipe(duplex=False)
        answers.append(mine)
        processes.append(fresh.Process(target=child, args=(Place(case, folder, rank), port, its)))
        processes[-1].start()
        its.close()
    try:
        costs: list[Cost] = []
        while waiting := [answer for answer in answers if not answer.closed]:  # for all: others wait for one that dies
            for answer in cast(list[Connection], wait(waiting)):
                costs.append(answer.recv())
                answer.close()
    except EOFError:
        raise ValueError(
            f"{case.work} of {case.images:,} images has failed: what a process said stands above"
        ) from None
    finally:
        for process in processes:
            process.terminate() if sys.exc_info()[0] else process.join()
    return Cost(*map(max, zip(*costs, strict=True)))


def cost(case: Case, folder: Path) -> Cost:
    """The median of three rounds where one is quick."""
    costs = [once(case, folder)]
    if costs[0].whole < QUICK:
        costs += [once(case, folder) for _ in range(2)]
    return Cost(*map(statistics.median, zip(*costs, strict=True)))


def make(folder: Path, images: int, pixels: int) -> None:
    """A folder of images: noise over colours that run into each other, as PNG, from 64 pixels on as JPEG."""
    draw, kind = np.random.default_rng(0), "PNG" if pixels < 64 else "JPEG"
    files = []
    for _ in range(min(DIFFERENT, images)):
        coarse = Image.fromarray(draw.integers(0, 256, (4, 4, 3), np.uint8))
        smooth = np.asarray(coarse.resize((pixels, pixels), Image.Resampling.BICUBIC), np.int16)
        noisy = (smooth + draw.integers(-4, 5, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / "one", kind, quality=90)
        files.append((folder / "one").read_bytes())
    (folder / "one").unlink()
    for start in range(0, images, 1_000):
        place = folder / f"{start // 1_000:05}"
        place.mkdir()
        for row in range(start, min(start + 1_000, images)):
            (place / f"{row:08}.{kind.lower()}").write_bytes(files[row % len(files)])


# What it says --------------------------------------------------------------------------------------------------------

Points = dict[int, Cost]  # by the number of images


def slope(images: Sequence[float], values: Sequence[float]) -> float:
    """By which power of the images a value grows between the last two."""
    if len(images) < 2 or min(values[-2:]) <= 0:
        return math.nan
    return math.log(values[-1] / values[-2]) / math.log(images[-1] / images[-2])


def line(images: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """What is always there, and what each image adds: the straight line through the last two points."""
    if len(images) < 2:
        return values[-1], math.nan
    each = (values[-1] - values[-2]) / (images[-1] - images[-2])
    return values[-1] - each * images[-1], each


def extrapolated(images: Sequence[float], values: Sequence[float], number: int) -> float:
    """Of so many images; nothing shrinks below what was measured, and one point makes no line."""
    always, each = line(images, values)
    return math.nan if math.isnan(each) else max(values[-1], always + each * number)


def report(measured: dict[Case, Points], numbers: Sequence[int]) -> str:
    """Tables of what was measured, and of ten million images."""
    width, lines = max(map(len, WORKS)), []
    row = lambda word, case: f"{word:<8}{case.work:<{width}}{case.pixels:>8}{case.processes:>11}"
    heads = f"{'':{width}}  pixels  processes{''.join(f'{number:>12,}' for number in numbers)}   slope"
    for place, word, unit, each_unit, shown in ((0, "time", "s", "us", 1.0), (1, "memory", "MiB", "bytes", 2**20)):
        lines.append(f"\n{word:<8}{heads}  {each_unit} an image, cells in {unit}")
        for case, points in measured.items():
            values = [cost[place] for cost in points.values()]
            cells = (f"{points[n][place] / shown:>12.4g}" if n in points else " " * 12 for n in numbers)
            each = line(list(points), values)[1] * (1.0 if place else 1e6)
            lines.append(f"{row(word, case)}{''.join(cells)}{slope(list(points), values):>8.2f}  {each:.4g}")
    lines.append(f"\n{MANY:,} images, by these lines, of each process")
    for case, points in measured.items():
        seconds, size = (extrapolated(list(points), [cost[k] for cost in points.values()], MANY) for k in (0, 1))
        lines.append(f"{row('need', case)}{seconds / 3600:>12.4g} h{size / 2**30:>12.4g} GiB")
    for pixels in sorted({case.pixels for case in measured}):
        on_disk = MANY * (3 * pixels**2 + 24) / 2**40
        lines.append(f"{'need':<8}{'cache':<{width}}{pixels:>8}{'':11}{on_disk:>12.4g} TiB of disk")
    for name, features in (("digits", DigitClassifier.num_features), ("Inception", FEATURES)):
        lines.append(f"{'need':<8}memorisation's {features} features of {name}: {4 * features * MANY / 2**30:.4g} GiB")
    return "\n".join(lines)


def plot(measured: dict[Case, Points], file: Path) -> None:
    """Time and memory over images, and time over pixels, log-log."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    first = min(case.pixels for case in measured)
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.6))
    colours = {work: f"C{n % 10}" for n, work in enumerate(WORKS)}
    for case, points in measured.items():
        style = {"color": colours[case.work], "marker": "os"[list(WORKS).index(case.work) >= 10], "markersize": 3.5}
        style["linestyle"] = "-" if case.processes == 1 else ":"
        label = case.work.replace("_", " ") if case.processes == 1 else None
        if case.pixels == first:
            axes[0].plot(list(points), [cost.seconds for cost in points.values()], label=label, **style)
            axes[1].plot(list(points), [max(cost.bytes / 2**20, 0.1) for cost in points.values()], **style)
    sizes = sorted({case.pixels for case in measured})
    for work in (work for work in WORKS if work not in WITHOUT_PIXELS):
        ends = {c.pixels: p for c, p in measured.items() if c.work == work and c.processes == 1}
        each = [line(list(p), [cost.seconds for cost in p.values()])[1] for p in (ends[s] for s in sizes if s in ends)]
        if len(each) > 1 and min(each) > 0:
            axes[2].plot(sizes, [1e6 * value for value in each], color=colours[work], marker="o", markersize=3.5)
    titles = (f"seconds, {first} pixels", f"MiB of a process, {first} pixels", "microseconds an image")
    for axis, title, under in zip(axes, titles, ("images", "images", "pixels of a side"), strict=True):
        axis.set(xscale="log", yscale="log", title=title, xlabel=under)
        axis.grid(alpha=0.3)
    axes[2].set_xticks(sizes, map(str, sizes))
    axes[2].minorticks_off()
    figure.legend(loc="lower center", ncols=6, frameon=False)
    figure.tight_layout(rect=(0, 0.11, 1, 1))
    figure.savefig(file, dpi=80)
    plt.close(figure)


def measure(options: argparse.Namespace) -> dict[Case, Points]:
    """Every row, by its case without a number of images."""
    measured: dict[Case, Points] = {}
    for pixels, images in product(options.pixels, options.images):
        if images * 3 * pixels**2 > options.gib * 2**30:
            continue
        with tempfile.TemporaryDirectory(dir=options.folder) as place:
            folder = Path(place)
            (folder / "images").mkdir()
            make(folder / "images", images, pixels)
            of_first = pixels == options.pixels[0]
            for work, processes in product(options.only, options.processes if of_first else options.processes[:1]):
                if of_first or work not in WITHOUT_PIXELS:
                    case = Case(work, images, pixels, processes)
                    measured.setdefault(case._replace(images=0), {})[images] = took = cost(case, folder)
                    said = f"{work} {images:,} images of {pixels} pixels, processes: {processes}"
                    print(f"{said}: {took.seconds:.3g} s, {took.bytes / 2**20:.0f} MiB", file=sys.stderr, flush=True)
    order = list(WORKS)
    return dict(sorted(measured.items(), key=lambda item: (order.index(item[0].work), *item[0][2:])))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--pixels", type=int, nargs="+", default=[32, 128, 256])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", choices=list(WORKS), default=list(WORKS), metavar="ROW")
    parser.add_argument("--gib", type=float, default=1.9, help="of decoded images in a folder, at most")
    parser.add_argument("--folder", type=Path, help="in which temporary folders are made")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    options = parser.parse_args(arguments)
    for name in ("images", "pixels", "processes"):
        values = getattr(options, name)
        least = 10 if name == "images" else 1
        if min(values) < least or sorted(set(values)) != values:
            parser.error(f"--{name} {' '.join(map(str, values))}: give numbers from {least} on, in rising order")
    if options.folder and not options.folder.is_dir():
        parser.error(f"--folder {options.folder} is no folder: make it, or leave that out")
    if not Path("/proc/self/status").is_file():
        parser.error("memory is read from /proc/self/status, which Linux has: run it there, or in a container")
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}  # of the processes to come
    multiprocessing.set_forkserver_preload(LOADED)
    try:
        measured = measure(options)
    except ValueError as error:
        sys.exit(f"{error}")
    print(report(measured, options.images))
    if options.plot:
        plot(measured, options.plot)


if __name__ == "__main__":
    main()
