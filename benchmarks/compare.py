"""zoo compare beside pytorch-fid: the same files, the same random Inception weights, seconds and memory in one run.

    python benchmarks/compare.py --data cifar10.npz                  # 5,000 against 5,000 images of 32x32
    python benchmarks/compare.py --data cifar10.npz --images 200 --rounds 1

The first images of the archive (uint8 [N, H, W, C], under any name of zoo/data/archives.py) become the PNG files of two
folders, every other one of each. Both commands are processes of their own and are timed as a user would, imports and
the distance included; rounds are interleaved. Seconds are medians over rounds, memory is the largest resident set of a
command's main process: pytorch-fid's workers have theirs besides. `ratio` is zoo's over pytorch-fid's.
pytorch-fid is of this project's development dependencies; without OMP_NUM_THREADS both use all cores.
"""

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from pytorch_fid import inception  # noqa: E402
from torch import nn  # noqa: E402

from zoo.data.originals import Originals  # noqa: E402
from zoo.metrics.extractors import sha256  # noqa: E402

THEIRS = """
import sys, torch
from pytorch_fid import fid_score, inception
weights = sys.argv.pop(1)
inception.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)
fid_score.main()
"""
OURS = """
import sys
from zoo.metrics.extractors import Inception
Inception.SHA256_PREFIX = sys.argv.pop(1)
from zoo.cli import main
main()
"""


def write_weights(path: Path) -> None:
    """Random ones, in the format of the file that both load."""
    torch.manual_seed(0)
    load, nn.Module.load_state_dict = nn.Module.load_state_dict, lambda *_, **__: None  # type: ignore[assignment]
    inception.load_state_dict_from_url = lambda *_, **__: {}
    try:
        network = inception.fid_inception_v3()
    finally:
        nn.Module.load_state_dict = load  # type: ignore[method-assign]
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    torch.save(network.state_dict(), path)


def write_images(data: Path, images: int, folders: list[Path]) -> None:
    """Every other image of an archive into each folder."""
    for folder in folders:
        folder.mkdir()
    archive = Originals(data)
    archive.files = archive.files[: 2 * images]
    for batch, positions in archive.batches(500):
        for image, position in zip(batch, positions.tolist(), strict=True):
            pixels = image.permute(1, 2, 0).squeeze(2).numpy()
            Image.fromarray(pixels).save(folders[position % 2] / f"{position:06d}.png")


def timed(command: list[str], output: Path) -> tuple[float, float, float, float]:
    """Seconds, seconds of the processor, MiB and the value that a command prints."""
    start, child = time.perf_counter(), os.fork()
    if not child:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.chdir(ROOT)
        os.execv(command[0], command)
    _, status, usage = os.wait4(child, 0)
    seconds, text = time.perf_counter() - start, output.read_text()
    found = re.search(r"(?:FID: +|  fid  +)([-\d.e]+)", text)
    if status or not found:
        raise SystemExit(f"{' '.join(command[3:])} failed:\n{text}")
    memory = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return seconds, usage.ru_utime + usage.ru_stime, memory, float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="an .npz, .npy, .zip or folder of images")
    parser.add_argument("--images", type=int, default=5_000, help="on each side")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        weights, folders = root / "random.pth", [root / "a", root / "b"]
        write_weights(weights)
        write_images(arguments.data, arguments.images, folders)
        paths = [str(folder) for folder in folders]
        settings = ["metrics.extractor.resize=pytorch", "metrics.measures=[fid]", "metrics.batch_size=50"]
        prefix = sha256(weights)[:8]
        commands = {
            "pytorch-fid": [sys.executable, "-c", THEIRS, str(weights), *paths, "--device", "cpu"],
            "zoo compare": [
                *(sys.executable, "-c", OURS, prefix, "compare", *paths),
                *(f"metrics.extractor.weights={weights}", *settings),
            ],
        }
        results: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in commands}
        for number in range(arguments.rounds):
            for name in sorted(commands, reverse=bool(number % 2)):
                results[name].append(timed(commands[name], root / "output.txt"))
    print(f"{arguments.images:,} against {arguments.images:,} images, {arguments.rounds} rounds")
    print(f"{'':<12}{'seconds':>10}{'CPU s':>10}{'MiB':>10}  FID")
    for name, rows in results.items():
        seconds, spent, memory, value = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:<12}{seconds:>10.1f}{spent:>10.1f}{memory:>10.0f}  {value:.6g}")
    for column, what in enumerate(("seconds", "CPU seconds")):
        pairs = zip(results["zoo compare"], results["pytorch-fid"], strict=True)
        ratios = [ours[column] / theirs[column] for ours, theirs in pairs]
        print(f"ratio of {what} {statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]")


if __name__ == "__main__":
    main()
