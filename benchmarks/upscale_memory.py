"""The memory that enlarging a large image takes, beyond that of the libraries and the network.

    python benchmarks/upscale_memory.py                       # 4000x4000 to 16000x16000 pixels, width 8: minutes
    python benchmarks/upscale_memory.py --side 1000

As `zoo upscale` does it, tile by tile, with an untrained SRGAN x4: its memory is that of a trained one. The peak of
this process before and after, as the operating system counts it.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import train  # noqa: E402
from zoo.run.config import compose  # noqa: E402
from zoo.use.upscale import enlarge_file  # noqa: E402

MAKE = """
import sys
from PIL import Image
side = int(sys.argv[2])
Image.linear_gradient("L").resize((side, side)).convert("RGB").save(sys.argv[1])
"""


def peak() -> float:
    """GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=4000)
    parser.add_argument("--width", type=int, default=8)
    asked = parser.parse_args()
    model = train.build(compose("model=srgan", f"model.width={asked.width}"))[1].eval()
    with tempfile.TemporaryDirectory() as folder:
        images = [Path(folder, "small.png"), Path(folder, "large.png")]
        for image, side in zip(images, (64, asked.side), strict=True):  # elsewhere: here it would count
            subprocess.run([sys.executable, "-c", MAKE, str(image), str(side)], check=True)
        enlarge_file(model, images[0], Path(folder, "x4.png"), tile=192)  # libraries that load at first use
        before = peak()
        enlarge_file(model, images[1], Path(folder, "x4.png"), tile=192)
        print(f"{asked.side}x{asked.side} pixels: {peak() - before:.2f} GiB beyond the {before:.2f} of the libraries")


if __name__ == "__main__":
    main()
