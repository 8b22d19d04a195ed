"""How much smaller the gradient penalties are at the image, through its augmentation T, than at the augmented image.

    python benchmarks/penalties.py RUN                            # of a run with augment=, on mnist5k
    python benchmarks/penalties.py RUN --p 0.6 data=cifar10 data.root=cifar10.npz

E[||grad D(T(x))||^2] of a trained D, with respect to x and with respect to T(x), on real images and on those of its G,
for the same draws of T, and the ratio of the two: by so much gamma has to be larger at the image to weigh as much.
Printed with the standard error over the images.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from hydra.utils import instantiate  # noqa: E402
from torch import Tensor  # noqa: E402

import zoo  # noqa: E402
from zoo.batch import from_bytes  # noqa: E402
from zoo.game.augment import Augment  # noqa: E402
from zoo.game.regularizers import gradient  # noqa: E402
from zoo.run.config import compose, table  # noqa: E402


def squares(D: Any, T: Augment, images: Tensor, *, batch_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """||grad D(T(x))||^2 of each image [N], with respect to x, and to T(x); `batch_size` images at a time."""
    T.generator = torch.Generator().manual_seed(seed)
    through, at = [], []
    for x in images.split(batch_size):
        T.begin_turn(remember=True)
        shown = T(x)
        image, again = T.origin(shown)
        through.append(gradient(lambda image, again=again: D(again(image)), image).detach().square().sum(1))
        at.append(gradient(D, shown).detach().square().sum(1))
        T.end_turn()
    return torch.cat(through), torch.cat(at)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", nargs="*", help="overrides of the data, data=mnist5k")
    parser.add_argument("--p", type=float, default=None, help="the probability of T; the run's")
    parser.add_argument("--policy", default=None, help="a row of conf/augment.yaml in place of the run's")
    parser.add_argument("--images", type=int, default=1_024)
    args = parser.parse_args(arguments)
    model = zoo.load(args.run)
    settings = dict(table("augment")[args.policy]) if args.policy else dict(model.game["augment"] or {})
    if args.p is not None:
        settings["probability"] = args.p
    T = Augment(**settings)
    if not T.active:
        raise SystemExit(f"{args.run} was trained without augmentation: give --policy ada")
    side = model.hparams["image_size"]
    data = instantiate(compose("data=mnist5k", f"data.image_size={side}", *args.data).data, _convert_="all")
    real = from_bytes(data.split("train")[range(args.images)].image)
    with torch.no_grad():
        fake = torch.cat([model.G(model.latent_of(rows))[0] for rows in torch.arange(args.images).split(64)])
    ratios = {}
    for name, images in {"real": real, "fake": fake}.items():
        through, at = squares(model.D.eval(), T, images, batch_size=16, seed=1)
        ratios[name] = (at.mean() / through.mean()).item()
        of = lambda values: f"{values.mean():.4g} +- {values.std() / len(values) ** 0.5:.2g}"
        print(f"{name}: at the image {of(through)}, at the augmented image {of(at)}: {ratios[name]:.2f} times")
    return ratios


if __name__ == "__main__":
    main()
