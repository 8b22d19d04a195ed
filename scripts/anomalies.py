"""Test digits, what an f-AnoGAN makes of them, and where they differ: docs/models/f_anogan.png.

    python train.py model=f_anogan
    python scripts/anomalies.py RUN

The first test digit of some classes that the run calls normal, and the first ones of a class that it never saw, each
under its anomaly score, the higher the more unusual. Rows: the digit, what it comes back as, the difference (black
where there is none). What is printed: the median score of all test digits of either kind.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from hydra.utils import instantiate  # noqa: E402

import zoo  # noqa: E402
from zoo.batch import from_bytes  # noqa: E402
from zoo.run.config import compose  # noqa: E402
from zoo.use.pictures import check_place, save, sheet  # noqa: E402
from zoo.use.score import scores_of  # noqa: E402


@torch.no_grad()
def main(arguments: list[str] | None = None) -> tuple[float, float]:
    """Make the picture; return the median score of normal and of abnormal test digits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="of model=f_anogan on digits")
    parser.add_argument("--normal", type=int, nargs="+", default=[1, 4, 6, 8], help="digits, the first of each")
    parser.add_argument("--abnormal", type=int, default=0, help="a digit, of which as many are shown")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "models" / "f_anogan.png")
    options = parser.parse_args(arguments)
    if options.abnormal in options.normal:
        parser.error(f"--abnormal={options.abnormal} is among the normal ones: name another digit")
    try:
        check_place(options.output)
        model = zoo.load(options.run)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if not hasattr(model, "reconstructed"):
        parser.error(f"{options.run} draws no image again: give a run of model=f_anogan")
    height, width = model.image_shape[1:]
    data = instantiate(compose("data=mnist5k", f"data.image_size=[{height},{width}]").data, _convert_="all")
    data.prepare_data()
    data.setup("validate")
    test = data.split("test")
    digits, labels, _ = test[range(len(test))]
    x = from_bytes(digits)
    scores = scores_of(model, x)
    unseen = labels == options.abnormal
    rows = [int((labels == digit).nonzero()[0]) for digit in options.normal]
    rows += unseen.nonzero().flatten()[: len(options.normal)].tolist()
    again = model.reconstructed(x[rows]).float()
    drawn = [list(x[rows]), list(again), list(model.residual(x[rows]) - 1)]
    above = [f"{score:.3f}" for score in scores[rows].tolist()]
    save(sheet(drawn, left=["digit", "again", "difference"], above=above).convert("L"), options.output, optimize=True)
    medians = float(scores[~unseen].median()), float(scores[unseen].median())
    print(f"{options.output}: median score {medians[0]:.3f} of normal digits, {medians[1]:.3f} of {options.abnormal}s")
    return medians


if __name__ == "__main__":
    main()
