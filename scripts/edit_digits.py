"""Edits digits that people wrote, and makes docs/edit-digits.png of them.

    zoo encoder stylegan_lite-mnist5k --images TRAINING_DIGITS -o encoder.safetensors
    zoo directions stylegan_lite-mnist5k --attribute thickness --attribute slant -o directions.safetensors
    python scripts/edit_digits.py --encoder encoder.safetensors --directions directions.safetensors

Test digits of data=mnist5k, one of each class that is asked for, which the generator never saw. Each is inverted from
what the encoder finds, and moved along both directions; a row shows the digit, its reconstruction, and the edits. What
the measures say of each edit, on average over the rows, is printed: thickness in pixels, slant as a shear.
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
from zoo.metrics.extractors import DigitClassifier  # noqa: E402
from zoo.run.config import compose  # noqa: E402
from zoo.use import styles  # noqa: E402
from zoo.use.encoder import Encoder, invert  # noqa: E402
from zoo.use.pictures import LEAST, save, sheet  # noqa: E402

STRENGTHS = (-2.0, 2.0)


def main(arguments: list[str] | None = None) -> dict[str, list[float]]:
    """Make the picture; return what each direction's measure says on average at -2, 0 and 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("stylegan_lite-mnist5k"))
    parser.add_argument("--encoder", type=Path, help="of zoo encoder; else the search begins at the mean")
    parser.add_argument("--directions", type=Path, required=True, help="of zoo directions: thickness and slant")
    parser.add_argument("--digits", type=int, nargs="+", default=[2, 3, 4, 5, 7, 9])
    parser.add_argument("--number", type=int, default=3, help="which of the test digits of its class")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--data", nargs="*", default=[], help="settings of the data, such as cache_dir=FOLDER")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "edit-digits.png")
    args = parser.parse_args(arguments)
    model = zoo.load(args.run)
    directions = styles.Directions.load(args.directions)
    like = styles.of_seeds(model, [0])
    shape = styles.render(model, like).shape[1:]
    size = [f"data.image_size=[{shape[1]},{shape[2]}]"]
    data = instantiate(compose("data=mnist5k", *size, *args.data).data, _convert_="all")
    data.prepare_data()
    data.setup("validate")
    test = data.split("test")
    images, labels, _ = test[range(len(test))]
    network = DigitClassifier()
    activations = lambda x: network.activations((x + 1) * 127.5)
    encoder = None if args.encoder is None else Encoder.load(args.encoder, shape, like.shape[2])
    rows, found = [], []
    for digit in args.digits:
        image = from_bytes(images[labels == digit][args.number][None])
        start = None if encoder is None else invert(encoder, image, like.shape[1])
        nearest = styles.project(model, image, steps=args.steps, plus=True, activations=activations, start=start)
        print(f"{digit}: {nearest.psnr:.1f} dB", flush=True)
        found.append(nearest.ws)
        rows.append([image[0], nearest.image[0]])
    ws, said = torch.cat(found).to(like), {}
    for name in ("thickness", "slant"):
        measure = styles.MEASURES[name]
        edits = [styles.render(model, styles.edit(ws, directions[name], strength)) for strength in STRENGTHS]
        low, high = (float(measure(edit).mean()) for edit in edits)
        said[name] = [low, float(measure(styles.render(model, ws)).mean()), high]
        print(f"{name}: {low:.3f} at {STRENGTHS[0]:+g}, {said[name][1]:.3f} at 0, {high:.3f} at {STRENGTHS[1]:+g}")
        for row, *edited in zip(rows, *edits, strict=True):
            row += edited
    above = ["written", "found", "thinner", "thicker", "slant -2", "slant +2"]
    picture = sheet(rows, above=above).convert("L")  # grey digits: a third of the file
    save(picture, args.output, optimize=True)
    print(f"{args.output}: {args.output.stat().st_size / 1000:.0f} kB, {LEAST} pixels a digit")
    return said


if __name__ == "__main__":
    main()
