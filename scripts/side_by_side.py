"""Super-resolution to look at: an image made small, and enlarged by bicubic interpolation and by each of some runs.

    python scripts/side_by_side.py RUN [RUN ...] --image photo.png --crop 96 200 320 160 -o side-by-side.png

From left to right: bicubic, the runs in their order, the original.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.utils import make_grid, save_image

import zoo
from zoo.batch import from_bytes, to_unit
from zoo.data.degradation import cropped, enlarge, shrink


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="of model=srgan, of one scale")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--crop", type=int, nargs=4, metavar=("TOP", "LEFT", "HEIGHT", "WIDTH"), required=True)
    parser.add_argument("-o", "--output", type=Path, default=Path("side-by-side.png"))
    options = parser.parse_args()

    models = [zoo.load(run) for run in options.runs]
    scale = models[0].hparams["scale"]
    pixels = np.array(Image.open(options.image).convert("RGB"))
    high = cropped(torch.from_numpy(pixels).permute(2, 0, 1)[None], scale)  # uint8 [1, 3, H, W]
    low = shrink(high, scale)
    columns = [enlarge(low, scale).float() / 255]
    with torch.no_grad():
        columns += [to_unit(model.upscale(from_bytes(low))) for model in models]
    columns.append(high.float() / 255)
    top, left, height, width = options.crop
    parts = torch.cat([image[:, :, top : top + height, left : left + width] for image in columns])
    save_image(make_grid(parts, nrow=len(parts), padding=2, pad_value=1.0), options.output)


if __name__ == "__main__":
    main()
