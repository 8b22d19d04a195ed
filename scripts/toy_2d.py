"""The 2-D test bed: which objectives and regularisers, together, cover every mode of the data?

    python scripts/toy_2d.py                                     # the table, and docs/toy-2d.png
    python scripts/toy_2d.py --only hinge+r1 --seed 2 --output hinge.png

Data: 8 Gaussians on a ring of radius 2 with sigma 0.02 (Metz et al. 2017, arXiv:1611.02163), and 25 on a grid of
spacing 2 with sigma 0.05 (Lin et al. 2018, arXiv:1712.04086), scaled to unit variance for the networks. Every
combination trains the same two perceptrons by zoo's own base, with the settings of SETTINGS; exceptions are in
EXCEPTIONS, penalties' weights in PENALTIES.

A sample has high quality if it lies within 3 sigma of a mode: 98.9 % of real points do. A mode is covered if it gets at
least a quarter of its fair share of all samples in high quality. Samples come from the averaged generator.

Combinations: every objective with every regulariser, but for
    anything without a regulariser: nothing makes the game converge near its solution (Mescheder et al. 2018,
        arXiv:1801.04406, section 2); non_saturating alone shows what that looks like;
    wasserstein with R1 or R2: D has to be Lipschitz between the modes too, where these two leave it free;
    relativistic_pairing with other than R1 + R2: either makes it converge near the solution, but in practice its
        authors needed both (Huang et al. 2024, arXiv:2501.05441, section 2).
"""

import argparse
import logging
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import lightning as L
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from zoo.game.abilities import FromLatents
from zoo.game.gan import GAN
from zoo.game.settings import Game

SETTINGS: dict[str, Any] = {
    "steps": {"ring": 1500, "grid": 3000},  # G's turns
    "batch": 256,
    "latent_dim": 2,
    "width": 128,  # of the three hidden layers of each network
    "lr": {"D": 2e-3, "G": 2e-3},  # falling linearly to 0 over the second half
    "betas": [0.0, 0.9],
    "ema_half_life": 50_000,  # points
    "n_critic": 1,  # turns of D for each turn of G
}
OFF = {"r1": 0.0, "r2": 0.0, "gradient_penalty": 0.0, "every": 1}
PENALTIES = {  # for points of unit variance
    "none": OFF,
    "r1": OFF | {"r1": 0.1},
    "r2": OFF | {"r2": 0.1},
    "r1_r2": OFF | {"r1": 0.1, "r2": 0.1},
    "gradient_penalty": OFF | {"gradient_penalty": 0.1},
}
ALL = ["r1", "r2", "r1_r2", "gradient_penalty"]
COMBINATIONS = {
    "non_saturating": ["none", *ALL],
    "minimax": ALL,
    "least_squares": ALL,
    "hinge": ALL,
    "wasserstein": ["gradient_penalty"],
    "relativistic_pairing": ["r1_r2"],
}
EXCEPTIONS: dict[str, dict[str, Any]] = {
    "wasserstein+gradient_penalty": {
        "steps": {"ring": 2500, "grid": 5000}
    },  # the paper takes 5 turns of D for each of G
}


class Mixture(NamedTuple):
    """Gaussians of equal weight."""

    title: str
    centres: Tensor  # [K, 2]
    sigma: float

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Points, [n, 2]."""
        centres = self.centres[torch.randint(len(self.centres), (n,), generator=generator)]
        return centres + self.sigma * torch.randn(n, 2, generator=generator)


ANGLE = torch.arange(8) * (2 * math.pi / 8)
SETS = {
    "ring": Mixture("8 Gaussians on a ring", 2 * torch.stack([ANGLE.cos(), ANGLE.sin()], dim=1), 0.02),
    "grid": Mixture("25 Gaussians on a grid", torch.cartesian_prod(*[torch.arange(-4.0, 5.0, 2.0)] * 2), 0.05),
}


def coverage(points: Tensor, mixture: Mixture) -> tuple[Tensor, float]:
    """Which modes are covered, bool [K], and the share of samples of high quality, in [0, 1]."""
    distance, nearest = torch.cdist(points, mixture.centres).min(dim=1)  # [N] each
    good = distance <= 3 * mixture.sigma
    counts = torch.bincount(nearest[good], minlength=len(mixture.centres))
    return counts >= len(points) / len(mixture.centres) / 4, good.float().mean().item()


def perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, width, width, width]
    layers = [layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class Toy(GAN, FromLatents):
    """Two perceptrons on points: zoo's base with any objective and regulariser."""

    def __init__(self, *, latent_dim: int, width: int, **game: Unpack[Game]) -> None:
        super().__init__(**game)
        self.latent_dim, self.run_log.every = latent_dim, 100_000
        self.G, self.D = perceptron(latent_dim, width, 2), perceptron(2, width, 1)
        self.G_ema = self.average(self.G)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> None:
        (x,) = batch  # [N, 2]
        fake = self.G(self.latent(len(x)))
        with self.turn("D") as minimize:
            terms = self.penalties(self.D, x, fake)
            logits = self.judge(self.D(x), self.D(fake.detach()))
            minimize(adversarial=self.loss.discriminator(*logits), **terms)
        if self.due("G"):
            with self.turn("G") as minimize:
                minimize(adversarial=self.loss.generator(self.D(fake), self.D(x) if self.loss.paired else None))

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.best(self.G)(z)


def train(name: str, loss: str, penalty: str, *, steps: int | None, seed: int, samples: int = 10_000) -> Tensor:
    """Samples [N, 2] of the averaged generator after training on the set `name`."""
    settings = {**SETTINGS, **EXCEPTIONS.get(f"{loss}+{penalty}", {})}
    batch, mixture = settings.pop("batch"), SETS[name]
    steps = (steps or settings["steps"][name]) * settings["n_critic"]
    settings.pop("steps")
    scale = mixture.centres.std()
    L.seed_everything(seed, verbose=False)
    decay = {"decay_start": "half", "decay_end": steps * batch}
    model = Toy(loss=loss, regularizer=PENALTIES[penalty], **decay, **settings)
    points = mixture.sample(steps * batch, torch.Generator().manual_seed(seed)) / scale
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader([(part,) for part in points.split(batch)], batch_size=None))  # type: ignore[arg-type]
    with torch.no_grad():
        z = torch.randn(samples, settings["latent_dim"], generator=torch.Generator().manual_seed(seed))
        return model.from_latents(z) * scale


def draw(results: dict[tuple[str, str, str], Tensor], path: Path) -> None:
    """Rows: objectives; columns: regularisers, on both sets. Samples over the modes; crosses are modes not covered."""
    rows = [loss for loss in COMBINATIONS if any(loss == key[1] for key in results)]
    columns = [(n, p) for n in SETS for p in PENALTIES if any((n, p) == (key[0], key[2]) for key in results)]
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=(1.75 * len(columns), 1.95 * len(rows) + 0.6), squeeze=False
    )
    for i, loss in enumerate(rows):
        for j, (name, penalty) in enumerate(columns):
            axis, mixture = axes[i][j], SETS[name]
            axis.set(xticks=[], yticks=[], aspect="equal")
            if j == 0:
                axis.set_ylabel(loss.replace("_", " "), fontsize=11)
            if i == 0:
                axis.annotate(
                    penalty.replace("_", " ").replace("r1 r2", "r1 + r2"),
                    (0.5, 1.25),
                    xycoords="axes fraction",
                    ha="center",
                    fontsize=11,
                )
            if (name, loss, penalty) not in results:
                axis.set(frame_on=False)
                continue
            points = results[name, loss, penalty]
            covered, quality = coverage(points, mixture)
            limit = 1.3 * mixture.centres.abs().max().item()
            axis.set(xlim=(-limit, limit), ylim=(-limit, limit))
            axis.scatter(*mixture.centres.T, s=55, facecolors="none", edgecolors="0.6", linewidths=0.8)
            axis.scatter(*points[:2500].T, s=1.2, linewidths=0, color="tab:blue", alpha=0.5)
            axis.scatter(*mixture.centres[~covered].T, s=60, marker="x", color="tab:red", linewidths=1.5)
            good = covered.all()
            axis.set_title(
                f"{int(covered.sum())}/{len(covered)} modes, {100 * quality:.0f} %",
                fontsize=9,
                color="black" if good else "tab:red",
            )
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [f"{loss}+{penalty}" for loss, penalties in COMBINATIONS.items() for penalty in penalties]
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="LOSS+REGULARIZER")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--steps", type=int, help="G's turns, instead of those of SETTINGS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "docs" / "toy-2d.png")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)

    results = {}
    fewest: dict[str, tuple[int, int]] = {}  # modes of the worst combination with a regulariser, of how many
    print(f"{'objective':22}{'regulariser':18}{'set':6}{'modes':>7}{'quality':>9}{'CPU seconds':>13}")
    for combination in args.only:
        loss, penalty = combination.split("+")
        for name in args.sets:
            start = time.process_time()
            results[name, loss, penalty] = train(name, loss, penalty, steps=args.steps, seed=args.seed)
            covered, quality = coverage(results[name, loss, penalty], SETS[name])
            seconds = time.process_time() - start
            modes = f"{int(covered.sum())}/{len(covered)}"
            if penalty != "none":
                fewest[name] = min((int(covered.sum()), len(covered)), fewest.get(name, (len(covered), len(covered))))
            print(f"{loss:22}{penalty:18}{name:6}{modes:>7}{quality:>9.1%}{seconds:>13.1f}", flush=True)
    if fewest:
        words = ", ".join(f"{name} {number}/{most}" for name, (number, most) in fewest.items())
        print(f"fewest with a regulariser: {words}")
    draw(results, args.output)


if __name__ == "__main__":
    main()
