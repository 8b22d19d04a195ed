"""Runs of several processes for tests/test_many.py, forked from one that has imported everything.

python tests/many.py SCENARIO FOLDER [MODEL]
"""

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from common import small
from hydra.utils import instantiate
from torch import nn

import train
from zoo.game import exchange as exchanging
from zoo.game.abilities import FromLatents
from zoo.game.finite import Diverged
from zoo.game.gan import GAN
from zoo.game.strategy import TurnDDP
from zoo.model.fastgan import FastGAN
from zoo.model.stylegan_lite import StyleGANLite
from zoo.run.checkpoint import WholeCheckpointIO

# What each process decides for itself, switched off.
ALIKE = {
    "cyclegan": ["model.history=0"],
    "f_anogan": ["loss=hinge", "regularizer=r1"],  # which draws no images between real and generated ones
    "fastgan": ["augment=none"],
    "pix2pix": ["model.dropout=0"],
}
# What is off by default, and looks at the lengths of all ranks.
MORE = {"stylegan_lite": ["model.path_length.weight=2", "model.path_length.every=2", "model.mixing=0.9"]}


def without_batch_statistics(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, nn.Identity())
        else:
            without_batch_statistics(child)


def latents_by_row(self: Any, n: int) -> torch.Tensor:
    assert n == len(self.rows)
    return self.latent_of(self.rows)


def normal_by_row(self: StyleGANLite, n: int, *shape: int) -> torch.Tensor:
    return torch.stack([torch.randn(shape, generator=seeded(row)) for row in self.rows[:n].tolist()])


def mix_by_row(self: StyleGANLite, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    first = 1 + self.rows % self.G.num_ws  # the last number mixes nothing
    return self.latent_of(self.rows + 500_000), torch.arange(self.G.num_ws) >= first[:, None]


def noise_by_row(self: FastGAN, n: int) -> dict[str, list[torch.Tensor]]:
    draw = lambda size, k: torch.stack([torch.randn(1, *size, generator=seeded(3 * row + k)) for row in self.rows])
    return {r: [draw(size, 1).double(), draw(size, 2).double()] for r, size in self.G.noise_sizes.items()}


def seeded(row: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(row))


def in_double_precision(gan: GAN) -> None:
    """Let the model see its batches so: in float32 the steps' own rounding grows to more than the tolerance."""
    step = gan.training_step

    def doubled(batch: Any, batch_idx: int) -> Any:
        return step(type(batch)(*(t.double() if t.is_floating_point() else t for t in batch)), batch_idx)

    gan.training_step = doubled  # type: ignore[method-assign]


def remember_rows(self: GAN, batch: Any, batch_idx: int) -> None:
    self.rows = batch.index + 1000 * batch_idx
    original_start(self, batch, batch_idx)


original_start = GAN.on_train_batch_start


def messages() -> list[tuple[int, str]]:
    """What is handed to all_reduce from now on: bytes, and whether "during" or "after" a backward pass or for the
    "books", which wait for it."""
    sent: list[tuple[int, str]] = []
    all_reduce = dist.all_reduce

    def noted(tensor: torch.Tensor, *args: Any, async_op: bool = False, **kwargs: Any) -> Any:
        way = ("after" if torch.is_grad_enabled() else "during") if async_op else "books"
        sent.append((tensor.nbytes, way))
        return all_reduce(tensor, *args, async_op=async_op, **kwargs)

    dist.all_reduce = noted
    return sent


def equality(folder: Path, model: str) -> None:
    """Five steps of one process and of two, on the same images and latents; each rank's state into FOLDER."""
    sent = messages()
    FromLatents.latent, GAN.on_train_batch_start = latents_by_row, remember_rows  # type: ignore[method-assign]
    StyleGANLite.normal, StyleGANLite.mix = normal_by_row, mix_by_row  # type: ignore[method-assign]
    FastGAN.noise = noise_by_row  # type: ignore[method-assign]
    for processes in (2, 1):
        cfg = small(model, folder / f"run{processes}", "max_images=80", *ALIKE.get(model, []), *MORE.get(model, []))
        L.seed_everything(1, verbose=False)
        data, gan = train.build(cfg)
        without_batch_statistics(gan)
        in_double_precision(gan)

        class Save(L.Callback):
            def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
                assert isinstance(pl_module, GAN)
                bytes_ = getattr(trainer.strategy, "bytes_reduced", {})
                content = {
                    "state": pl_module.state_dict(),
                    "images": pl_module.images,
                    "turns": pl_module.turns,
                    "bytes": bytes_,
                    "all": sum(nbytes for nbytes, way in sent if way != "books"),
                }
                content["gradients"] = {n: p.grad for n, p in pl_module.named_parameters() if p.grad is not None}
                content["player_bytes"] = {
                    player: sum(p.numel() * p.element_size() for _, p in named)
                    for player, named in pl_module._parameters_of.items()
                }
                torch.save(content, folder / f"{trainer.world_size}-{trainer.global_rank}.pt")

        budget = instantiate(cfg.callbacks.budget)
        strategy = TurnDDP(start_method="fork", process_group_backend="gloo") if processes > 1 else "auto"
        trainer = L.Trainer(
            accelerator="cpu",
            devices=processes,
            strategy=strategy,
            max_epochs=-1,
            logger=False,
            callbacks=[budget, Save()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            limit_val_batches=0,
            log_every_n_steps=1,
            precision="64-true",
        )
        trainer.fit(gan, data)


def resume(folder: Path, model: str) -> None:
    """Two processes straight through 96 images, and stopped at 48 and resumed, with metrics in the loop."""
    metrics = ["metrics=mnist", "metrics.num_fake=21", "metrics.num_real=31", "callbacks.evaluate.every=48"]
    two = ["trainer=ddp_cpu", "+trainer.strategy.start_method=fork", "callbacks.checkpoints.every=48"]
    metrics += ["model.decay_end=96"]  # the same rates, whatever the budget
    metrics += ["model.history=10"] if model == "cyclegan" else []  # full long before it is interrupted
    train.run(small(model, folder / "straight", *metrics, *two, "max_images=96"))
    train.run(small(model, folder / "broken", *metrics, *two, "max_images=48"))
    train.run(small(model, folder / "broken", *metrics, *two, "max_images=96", "resume=here"))


# Two precisions and several turns of D a step; networks that grow, and penalties that are not in every turn.
GAMES = {
    "dcgan": ["model.clip_norm=1", "model.n_critic=2", "trainer.precision=bf16-mixed", "regularizer=r1"],
    "stylegan_lite": ["model.growth=progressive", "model.phase_images=48", "model.path_length.every=2"],
}


def exchange(folder: Path, model: str) -> None:
    """Twelve steps with gradients averaged during the backward pass, and one by one after it, in small buckets."""
    exchanging.BUCKET_BYTES = 1024
    sent, on_train_end = messages(), GAN.on_train_end

    def keep(self: GAN) -> None:
        on_train_end(self)
        torch.save(sent, Path(self.trainer.default_root_dir) / f"sent{self.global_rank}.pt")

    @contextmanager
    def after(self: TurnDDP, player: str, parameters: Any, objective: torch.Tensor) -> Any:
        yield
        for tensor in [*(p.grad for _, p in parameters if p.grad is not None), objective]:
            dist.all_reduce(tensor)
            tensor /= 2

    GAN.on_train_end = keep  # type: ignore[method-assign]
    two = ["trainer=ddp_cpu", "+trainer.strategy.start_method=fork", "max_images=192", *GAMES[model]]
    for way in ("during", "after"):
        train.run(small(model, folder / way, *two))
        TurnDDP.averaging = after  # type: ignore[method-assign, assignment]


def start(folder: Path, model: str) -> None:
    """Two processes that begin with the weights of a run, D's first layer held."""
    two = ["trainer=ddp_cpu", "+trainer.strategy.start_method=fork"]
    train.run(small(model, folder / "first", *two, "max_images=32"))
    train.run(small(model, folder / "run", *two, f"start={folder / 'first'}", "model.freeze_d=1", "max_images=48"))


def full_disk(folder: Path, model: str) -> None:
    """The first save finds no space; what follows goes on."""
    save, calls = torch.save, [0]

    def first_fails(*args: Any, **kwargs: Any) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise OSError(28, "No space left on device")
        save(*args, **kwargs)

    torch.save = first_fails
    many = ["trainer=ddp_cpu", "+trainer.strategy.start_method=fork", "callbacks.checkpoints.every=64"]
    train.run(small(model, folder / "run", *many))


def two_ranks(folder: Path, model: str, turn: Any) -> None:
    """Train with another `turn`; what each rank raises goes into FOLDER."""
    begin = Diverged.__init__

    @contextmanager
    def telling(self: GAN, player: str, **kwargs: Any) -> Any:
        try:
            with turn(self, player, **kwargs) as minimize:
                yield minimize
        except RuntimeError as error:
            (folder / f"rank{self.global_rank}").write_text(str(error))
            raise

    def told(self: Diverged, what: str, **kwargs: Any) -> None:
        begin(self, what, **kwargs)
        (folder / f"rank{dist.get_rank()}").write_text(str(self))

    GAN.turn, Diverged.__init__ = telling, told  # type: ignore[method-assign, assignment]
    train.run(small(model, folder / "run", "trainer=ddp_cpu", "+trainer.strategy.start_method=fork"))


def diverge(folder: Path, model: str) -> None:
    """A term that is infinite on rank 1 alone, with a finite gradient."""
    turn = GAN.turn

    @contextmanager
    def infinite(self: GAN, player: str, **kwargs: Any) -> Any:
        bad = float("inf") if self.images >= 48 and self.global_rank == 1 else 0.0
        with turn(self, player, **kwargs) as minimize:
            yield lambda **terms: minimize(**{name: term + bad for name, term in terms.items()})

    two_ranks(folder, model, infinite)


def disagree(folder: Path, model: str) -> None:
    """Rank 1 skips D's first turn."""
    turn = GAN.turn

    @contextmanager
    def skipped(self: GAN, player: str, **kwargs: Any) -> Any:
        with turn(self, player, **kwargs) as minimize:
            if player == "D" and self.turns["D"] == 1 and self.global_rank == 1:
                assert self._turn is not None
                self._turn.moved = True
                yield lambda **terms: None
            else:
                yield minimize

    two_ranks(folder, model, skipped)


if __name__ == "__main__":
    torch.set_num_threads(1)
    assert WholeCheckpointIO
    scenarios = {"equality": equality, "resume": resume, "diverge": diverge, "disagree": disagree}
    scenarios |= {"exchange": exchange, "full_disk": full_disk, "start": start}
    scenarios[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
