"""Trains the example of docs/extend.md, InfoGAN, and says what its categories are worth.

    python benchmarks/infogan.py                          # 60,000 images, seed 1
    python benchmarks/infogan.py --images 1_000 -o RUN

The files that the page shows are put into a copy of the project, and trained there by `python train.py`. Of 300 samples
of each category (seeds 0 to 299): how many Q reads as that category; and how many of the digit classifier's readings
agree with the categories, these matched one to one with digits in the best way.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PER_CATEGORY = 300


def example(folder: Path) -> None:
    """A copy of the project with the page's files."""
    for name in ("zoo", "conf", "train.py"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    page = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"`((?:zoo|conf)/[\w/.]+)`[^\n]*:\n\n```(?:python|yaml)\n(.*?)```", page, re.DOTALL):
        (folder / name).write_text(text, encoding="utf-8")


def measure(run: Path) -> None:
    """Run within the copy: it has the variant."""
    import json

    import torch
    from scipy.optimize import linear_sum_assignment

    import zoo
    from zoo.batch import to_bytes
    from zoo.metrics.extractors import DigitClassifier

    model = zoo.load(run)
    labels = torch.arange(10).repeat_interleave(PER_CATEGORY)
    seeds = torch.arange(PER_CATEGORY).repeat(10)
    with torch.no_grad():
        images = model.generate(seeds, labels)
        read = model.Q(model.D[:-2](images)).argmax(dim=1)
        digits = DigitClassifier().logits(to_bytes(images)).argmax(dim=1)
    table = torch.zeros(10, 10)
    table.index_put_((labels, digits), torch.ones(len(labels)), accumulate=True)
    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    best = json.loads((run / "result.json").read_text())["best"]
    print(f"fid_mnist {best:.4g}")
    print(f"Q reads {100 * (read == labels).float().mean():.1f}% of {len(labels):,} images as their category")
    print(f"matched one to one, the classifier agrees on {100 * table[rows, columns].sum() / len(labels):.1f}%")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", default="60_000")
    parser.add_argument("-o", "--output", type=Path, help="the run's folder; by default one that is removed")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        sys.path.insert(0, os.getcwd())
        return measure(asked.measure)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "project")
        folder.mkdir()
        example(folder)
        run = (asked.output or Path(place, "run")).resolve()
        environment = os.environ | {"PYTHONPATH": str(folder)}
        settings = ["model=infogan", f"max_images={asked.images}", "seed=1", "logger=csv", f"hydra.run.dir={run}"]
        for words in (["train.py", *settings], [str(Path(__file__).resolve()), "--measure", str(run)]):
            subprocess.run([sys.executable, *words], cwd=folder, env=environment, check=True)
    return None


if __name__ == "__main__":
    main()
