"""What the errors of pixels are worth on maps: those of one colour everywhere, the training maps' median.

    python benchmarks/constant_map.py maps          # the folder of experiment=pix2pix_maps

Measured like a translation of `experiment=pix2pix_maps`, against the same test maps.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from hydra.utils import instantiate  # noqa: E402

from zoo.batch import Preview  # noqa: E402
from zoo.run.config import compose, plain  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root")
    settings = plain(compose("experiment=pix2pix_maps", f"data.root={parser.parse_args().root}"))
    data, evaluation = (instantiate(settings[part], _convert_="all") for part in ("data", "metrics"))
    data.prepare_data()
    data.setup("fit")
    loader = data.evaluation_loader(split="train", num=len(data.split("train")), batch_size=64)
    maps = torch.cat([batch.y for batch in loader])  # [N, 3, H, W]
    colour = maps.transpose(0, 1).flatten(1).median(dim=1).values

    def constant(batch: Any) -> dict[str, Preview]:
        return {"X->Y": Preview(fake=colour[:, None, None].expand_as(batch.y).contiguous(), target=batch.y)}

    for name, value in evaluation.evaluate(constant, data, device="cpu").values.items():
        print(f"{name:20} {value:.6g}")


if __name__ == "__main__":
    main()
