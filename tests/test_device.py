"""What would hold up a GPU, found without one: whole steps on torch's `meta` device, which computes nothing.

Counted are operations whose tensors are on two devices, which a GPU refuses or copies for, and numbers that Python
reads, for which it waits. The optimizers' own arithmetic is left out: fused Adam does not run there.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from common import MODELS, small
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import train
from zoo.game.gan import GAN

STEPS = 4


class Watch(TorchDispatchMode):
    """Notes what meets across devices and what is read, and answers."""

    def __init__(self, answer: float = 0.0) -> None:
        super().__init__()
        self.answer = answer
        self.mixed: list[str] = []
        self.reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        kinds = {x.device.type for x in tensors if x.dim() or x.is_meta}  # a number of the CPU may go anywhere
        if len(kinds) > 1:
            self.mixed.append(str(func))
        if func is torch.ops.aten._local_scalar_dense.default and tensors[0].is_meta:
            self.reads += 1
            return self.answer
        return func(*args, **(kwargs or {}))


def without_stream(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same where something is drawn; on `meta` there is nothing to draw from."""

    def drawn(*args: Any, generator: torch.Generator | None = None, **kwargs: Any) -> Tensor:
        return draw(*args, generator=None if str(kwargs.get("device")) == "meta" else generator, **kwargs)

    return drawn


@pytest.fixture(autouse=True)
def a_device_that_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No random numbers can be drawn there from a stream of one's own, and no fused optimizer runs."""
    adam = torch.optim.Adam.__init__
    monkeypatch.setattr(torch.optim.Adam, "__init__", lambda self, *args, fused, **kw: adam(self, *args, **kw))
    monkeypatch.setattr(torch.optim.Adam, "_step_supports_amp_scaling", True, raising=False)
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self, closure=None: None)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())
    monkeypatch.setattr(GAN, "rng", torch.Generator())
    for name in ("rand", "randn", "randint", "randperm"):
        monkeypatch.setattr(torch, name, without_stream(getattr(torch, name)))
    monkeypatch.setattr(GAN, "optimizers", lambda self: [*self._players.values()])
    monkeypatch.setattr(GAN, "manual_backward", lambda self, objective: objective.backward())


def played(model: str, *overrides: str) -> Iterator[Watch]:
    """What each of a few steps has met and read."""
    data, gan = train.build(small(model, "nowhere", *overrides))
    data.prepare_data()
    data.setup("fit")
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    batch = tree_map_only(Tensor, lambda x: x.to("meta"), batch)
    gan.to("meta").train()
    gan.configure_optimizers()
    gan._trainer = trainer = MagicMock(
        world_size=1, global_rank=0, loggers=[], datamodule=data if hasattr(data, "picture") else None
    )
    trainer.strategy.reduce = lambda value, **_: value
    with Watch(answer=1.0):
        gan.on_fit_start()
    for k in range(STEPS):
        with Watch() as watch:
            gan.on_train_batch_start(batch, k)
            gan.training_step(batch, k)
        yield watch


@pytest.mark.parametrize("model", MODELS)
def test_a_step_meets_one_device_and_reads_one_number(model: str, *options: str) -> None:
    for watch in played(model, *options):
        assert not watch.mixed
        assert watch.reads <= 1


OPTIONS = {  # beside the defaults of each model
    "ada": ["dcgan", "augment=ada", "model.discriminator_norm=none", "regularizer=r1_r2"],
    "penalties": ["dcgan", "augment=diffaugment", "model.discriminator_norm=none", "regularizer=gradient_penalty"],
    "balance": ["dcgan", "model.skip_d_above=0.9", "model.n_critic=2", "model.clip_norm=1"],
    "paired": ["dcgan", "loss=relativistic_pairing", "model.regularizer=null", "model.discriminator_norm=spectral"],
    "projection": ["cgan", "model.condition=projection", "loss=wasserstein", "regularizer=gradient_penalty"],
    "history": ["cyclegan", "model.history=4"],
    "burn-in": ["r3gan", "augment=ada", "model.augment.target=null", "model.burn_in.augment=0.3"],
    "classes": ["stylegan_lite", "model.conditional=true", "model.class_layers=2", "augment=ada"],
    "progressive": ["stylegan_lite", "model.growth=progressive", "model.phase_images=16"],
    "multi-scale": ["stylegan_lite", "model.growth=multi_scale"],
    "perception": ["srgan", "model.content=discriminator"],
    "encoder": ["f_anogan", "model.gan_share=0.5"],
    "unet": ["cyclegan", "model.generator=unet", "model.blocks=null", "data.image_size=32"],
    "norm": ["pix2pix", "model.norm=batch"],
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_so_it_is_with_what_can_be_chosen(options: list[str]) -> None:
    test_a_step_meets_one_device_and_reads_one_number(*options)
