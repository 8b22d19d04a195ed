"""Small sets of digits as PNGs, to train on as a user would on images of one's own.

    python benchmarks/few.py FOLDER

FOLDER/few    the first 30 of each class of data=mnist5k's training images
FOLDER/all    all 4,000 of them
FOLDER/test   the first of each class of its test images, 0.png to 9.png
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hydra.utils import instantiate  # noqa: E402
from PIL import Image  # noqa: E402

from zoo.run.config import compose  # noqa: E402

PER_CLASS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    data = instantiate(compose("data=mnist5k").data, _convert_="all")
    data.prepare_data()
    data.setup("fit")
    for name in ("few", "all", "test"):
        (folder / name).mkdir(parents=True)
    for split in ("train", "test"):
        images, labels, _ = data.split(split)[range(len(data.split(split)))]
        seen = dict.fromkeys(range(10), 0)
        for k, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            picture = Image.fromarray(image[0].numpy())
            if split == "train":
                picture.save(folder / "all" / f"{k:04}-{label}.png")
                if seen[label] < PER_CLASS:
                    picture.save(folder / "few" / f"{k:04}-{label}.png")
            elif not seen[label]:
                picture.save(folder / "test" / f"{label}.png")
            seen[label] += 1


if __name__ == "__main__":
    main()
