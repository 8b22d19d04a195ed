"""What would hold up a GPU, found without one: whole steps on torch's `meta` device, which computes nothing.

Counted are operations whose tensors are on two devices, which a GPU refuses or copies for, and numbers that Python
reads, for which it waits. The optimizers' own arithmetic is left out: fused Adam does not run there.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from common import CAPTURED, EVERY, OPTIONS, small
from torch import Tensor
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import train
from zoo.game.augment import constant
from zoo.game.gan import GAN

STEPS = 4


class Watch(TorchDispatchMode):
    """Notes what meets across devices, what is read, and what the CPU sends, and answers."""

    def __init__(self, answer: float = 0.0) -> None:
        super().__init__()
        self.answer = answer
        self.mixed: list[str] = []
        self.reads = self.sent = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        joined = func in (torch.ops.aten.stack.default, torch.ops.aten.cat.default)
        kinds = {x.device.type for x in tensors if x.dim() or x.is_meta or joined}  # else a number may go anywhere
        if len(kinds) > 1:
            self.mixed.append(str(func))
        if func is torch.ops.aten._to_copy.default and not tensors[0].is_meta:
            self.sent += str((kwargs or {}).get("device")) == "meta"
        if func is torch.ops.aten.copy_.default and tensors[0].is_meta and not tensors[1].is_meta:
            self.sent += 1
        if func is torch.ops.aten._local_scalar_dense.default and tensors[0].is_meta:
            self.reads += 1
            return self.answer
        return func(*args, **(kwargs or {}))


def without_stream(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same where something is drawn; on `meta` there is nothing to draw from."""

    def drawn(*args: Any, generator: torch.Generator | None = None, **kwargs: Any) -> Tensor:
        return draw(*args, generator=None if str(kwargs.get("device")) == "meta" else generator, **kwargs)

    return drawn


def sent(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same, made on the CPU and sent: on `meta` numbers come from nowhere."""

    def made(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        tensor = make(*args, **kwargs)
        return tensor if device is None else tensor.to(device)

    return made


@pytest.fixture(autouse=True)
def a_device_that_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No random numbers can be drawn there from a stream of one's own, and no fused optimizer runs."""
    _device_constructors()  # torch looks once what a device is for, and keeps it: not what is put in place below
    adam = torch.optim.Adam.__init__
    monkeypatch.setattr(torch.optim.Adam, "__init__", lambda self, *args, fused, **kw: adam(self, *args, **kw))
    monkeypatch.setattr(torch.optim.Adam, "_step_supports_amp_scaling", True, raising=False)
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self, closure=None: None)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())
    monkeypatch.setattr(GAN, "rng", torch.Generator())
    for name in ("rand", "randn", "randint", "randperm"):
        monkeypatch.setattr(torch, name, without_stream(getattr(torch, name)))
    monkeypatch.setattr(torch, "tensor", sent(torch.tensor))
    monkeypatch.setattr(torch, "as_tensor", sent(torch.as_tensor))
    monkeypatch.setattr(Tensor, "new_tensor", lambda self, data: torch.tensor(data, device=self.device))
    constant.cache_clear()
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


@pytest.mark.parametrize("model", EVERY)
def test_a_step_meets_one_device_and_reads_one_number(model: str, *options: str) -> None:
    """And sends none after the first."""
    for k, watch in enumerate(played(model, *options)):
        assert not watch.mixed
        assert watch.reads <= 1
        assert not (k and watch.sent)


MIRRORED = {
    "images": ["dcgan", "data.flip=true"],
    "pairs": ["pix2pix", "data.flip=true"],
    "no pairs": ["cyclegan", "data.flip=true"],
    "patches": ["srgan"],
    "scenes": ["style_transfer", "data.flip=true"],
}


@pytest.mark.parametrize("options", MIRRORED.values(), ids=MIRRORED)
def test_batches_are_brought_without_waiting(options: list[str]) -> None:
    """Once an epoch what is cropped and mirrored is sent, and no row of a batch is read."""
    model, *overrides = options
    data, _ = train.build(small(model, "nowhere", *overrides))
    data.prepare_data()
    data.setup("fit")
    batches = list(itertools.islice(data.train_dataloader(), 2))
    data.trainer = MagicMock(training=True)
    for k, batch in enumerate(batches):
        batch = tree_map_only(Tensor, lambda x: x.to("meta"), batch)
        with Watch() as watch:
            data.on_after_batch_transfer(batch, 0)
        assert not watch.mixed
        assert watch.reads == 0
        assert not (k and watch.sent)


@pytest.mark.parametrize("model", EVERY)
def test_whether_it_diverged_is_asked_on_one_device(model: str) -> None:
    """Of what optimizers keep, the count of steps may be a number of the CPU's, as RMSprop's is."""
    _, gan = train.build(small(model, "nowhere"))
    gan.to("meta").configure_optimizers()
    for optimizer in gan._players.values():
        for p in itertools.chain.from_iterable(group["params"] for group in optimizer.param_groups):
            optimizer.state[p] = {"step": torch.tensor(1.0), "exp_avg": torch.zeros_like(p)}
    gan._trainer = trainer = MagicMock(world_size=1)
    trainer.strategy.reduce = lambda value, **_: value
    with Watch() as watch:
        gan.refuse_diverged()
    assert not watch.mixed


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_so_it_is_with_what_can_be_chosen(options: list[str]) -> None:
    test_a_step_meets_one_device_and_reads_one_number(*options)


@pytest.mark.slow
@pytest.mark.parametrize("options", CAPTURED.values(), ids=CAPTURED)
def test_what_is_captured_neither_reads_nor_sends(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Either would make Python wait, which no capture takes."""
    make_step, watches = GAN._make_step, []

    def watched(self: GAN, algorithm: Callable[[Any], Any], batch: Any) -> None:
        self.capture_steps()  # is not refused
        with Watch() as watch:
            make_step(self, algorithm, batch)
        watches.append(watch)

    monkeypatch.setattr(GAN, "_make_step", watched)
    list(played(*options))
    first, *others = [(len(watch.mixed), watch.reads, watch.sent) for watch in watches]
    assert first[:2] == (0, 0)
    assert others == [(0, 0, 0)] * (STEPS - 1)
