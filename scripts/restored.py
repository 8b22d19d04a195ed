"""Photographs that lost their colours, or a part, and what runs give back, in one picture.

    python train.py experiment=colourise data.root=BSDS200_train data.test_root=BSD100
    python train.py experiment=inpaint data.root=BSDS200_train data.test_root=BSD100 max_images=16_000
    python scripts/restored.py --colourise RUN --inpaint RUN

The photographs are those of the package, which no run has seen: a square of each, reduced to the size that the runs
were trained at. A row: the photograph, grey, coloured (`zoo translate --keep lightness`), erased in the middle, filled
(`zoo translate --keep opaque`).
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image, ImageOps  # noqa: E402

import zoo  # noqa: E402
from zoo.data.reading import read_picture  # noqa: E402
from zoo.game.abilities import Translates  # noqa: E402
from zoo.use import pictures  # noqa: E402
from zoo.use.translate import translator  # noqa: E402

ABOVE = "photograph", "grey", "coloured", "erased", "filled"


def main(arguments: list[str] | None = None) -> None:
    """Make the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--colourise", required=True, metavar="RUN", help="of experiment=colourise")
    parser.add_argument("--inpaint", required=True, metavar="RUN", help="of experiment=inpaint")
    parser.add_argument("--photographs", nargs="+", default=["astronaut", "chelsea", "coffee", "rocket"])
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--hole", type=float, default=0.35, help="side of what is erased, as a share of the image's")
    parser.add_argument("-o", "--output", type=Path, default=Path("restored.png"))
    options = parser.parse_args(arguments)
    side, hole = options.size, round(options.hole * options.size)
    begin = (side - hole) // 2
    if not 0 < hole < side:
        parser.error(f"--hole={options.hole} of {side} pixels must erase some and leave some: give 0.35")
    try:
        pictures.check_place(options.output)
        photographs = [Image.fromarray(read_picture(name, 3).transpose(1, 2, 0)) for name in options.photographs]
        models = [zoo.load(run) for run in (options.colourise, options.inpaint)]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if not all(isinstance(model, Translates) for model in models):
        parser.error("a run that translates no images: give one of experiment=colourise, and one of experiment=inpaint")
    colourise, inpaint = translator(models[0], keep="lightness"), translator(models[1], keep="opaque")

    rows = []
    with TemporaryDirectory() as folder:
        file = lambda name: Path(folder, f"{name}.png")
        for whole in photographs:
            photograph = ImageOps.fit(whole, (side, side), Image.Resampling.BOX)
            erased = photograph.convert("RGBA")
            erased.paste((0, 0, 0, 0), (begin, begin, begin + hole, begin + hole))
            photograph.save(file("photograph"))
            photograph.convert("L").save(file("grey"))
            erased.save(file("erased"))
            colourise(file("grey"), file("coloured"))
            inpaint(file("erased"), file("filled"))
            rows.append([pictures.read(file(column), 3, (255, 255, 255))[0] for column in ABOVE])
    pictures.save(pictures.sheet(rows, above=ABOVE), options.output, optimize=True)
    print(f"{options.output}: {options.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
