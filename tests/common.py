"""What tests share: small configurations of every model, and equality."""

import copy
import importlib.util
import io
import os
import resource
import shlex
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torchvision
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from PIL import Image
from torch.utils.data import DataLoader

import train
from zoo.batch import ImagePairs
from zoo.data.embedded import digits
from zoo.game.gan import GAN
from zoo.run.config import compose, plain

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


def needs(module: str) -> Any:
    """A package that tests alone use; without it the test is skipped, and `uv run --all-groups pytest` runs it."""
    return pytest.importorskip(module, reason=f"{module} is not installed: uv run --all-groups pytest")


def program(path: str) -> ModuleType:
    """A program of the project as a module: "scripts/pages.py"."""
    name = path.removesuffix(".py").replace("/", ".")  # "scripts.pages": tests/pages.py is another module
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def some_slow(models: list[str], *quick: str) -> list[Any]:
    """Parameters: every model, `slow` unless it is named: what they share is tried with the others."""
    return [m if m in quick else pytest.param(m, marks=pytest.mark.slow) for m in models]


# For what each model is held to: one of each kind at once, all of them with `-m slow`.
EVERY = some_slow(MODELS, "cgan", "dcgan", "f_anogan", "pix2pix", "srgan")

# A model that is not named here is trained on `digits` as configured: name it when that is too slow.
SMALL: dict[str, list[str]] = {
    "cgan": ["data=digits", "data.image_size=16", "model.width=4"],
    "cyclegan": ["data.image_size=16", "model.width=4", "model.blocks=1", "model.discriminator_width=4"],
    "dcgan": ["data=digits", "data.image_size=16", "model.width=4"],
    "fastgan": [
        *("data=digits", "data.image_size=64", "model.width=2", "model.decoder_width=1", "model.latent_dim=8"),
    ],
    "f_anogan": ["data=digits", "data.image_size=16", "model.width=4", "model.n_critic=1", "model.latent_dim=8"],
    "pix2pix": ["data.image_size=32", "model.width=4", "model.discriminator_width=4"],
    "r3gan": [
        *("data=digits", "data.image_size=16", "model.channel_base=64", "model.channel_max=8", "model.group_width=4"),
        *("model.latent_dim=8", "model.embed_dim=4"),
    ],
    "srgan": [
        *("data.scale=2", "data.patch_size=16", "model.width=4", "model.blocks=1", "model.pixel_images=16"),
        *("model.discriminator_width=2", "model.discriminator_dense=4", "model.lr_steps=[64]"),
    ],
    "style_transfer": [
        *("data=digits", "data.image_size=16", "model.width=4", "model.blocks=1", "model.style_size=32"),
        "model.ema_half_life=100",
    ],
    "stylegan_lite": [
        *("data=digits", "data.image_size=16", "model.channel_base=64", "model.channel_max=8"),
        *("model.latent_dim=8", "model.w_dim=8", "model.mixing=0.9", "model.path_length.weight=2"),
    ],
    "vanilla": ["data=digits", "data.image_size=8", "model.hidden=[16,32]"],
}


@cache
def _composed(*overrides: str) -> DictConfig:
    return compose(*overrides)


def composed(*overrides: str) -> DictConfig:
    """What `compose` makes, which takes a quarter of a second each time, of the same overrides once."""
    return copy.deepcopy(_composed(*overrides))


def make(model: str, *overrides: str) -> Any:
    """The model of a configuration, untrained."""
    try:
        return train.build(composed(f"model={model}", *overrides))[1]
    except InstantiationException as error:  # Hydra's, around what the constructor says
        raise error.__cause__ or error from None


def small(model: str, folder: Path | str, *overrides: str) -> DictConfig:
    """A small configuration of a model: eight steps of 16 images, no metrics, into a folder."""
    cfg = composed(
        f"model={model}",
        "logger=csv",
        "trainer=cpu",
        "metrics=none",
        *SMALL.get(model, []),
        "data.batch_size=16",
        "max_images=128",
        "run_dir=FOLDER",
        "callbacks.report.overrides=[]",
        *overrides,
    )
    if cfg.run_dir == "FOLDER":
        cfg.run_dir = str(folder)
    return cfg


def untrained(model: str, *overrides: str) -> GAN:
    """A small model whose numbers are random everywhere, averages apart, as if it had been trained and loaded."""
    cfg = small(model, "nowhere", *overrides)
    L.seed_everything(0, verbose=False)
    gan: Any = train.build(cfg)[1]
    with torch.no_grad():
        for tensor in [*gan.parameters(), *(b for b in gan.buffers() if b.is_floating_point())]:
            tensor += 0.1 * torch.rand_like(tensor)
    gan.images, gan.config = 1_000, plain(cfg)
    return gan.eval()


# What can be chosen beside the defaults of each model, and acts on a step.
OPTIONS: dict[str, list[str]] = {
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
    "rrdb": ["srgan", "model.network=rrdb"],
}
# Models whose steps may be captured as one graph, each with what that takes, and what changes such a step.
CAPTURED: dict[str, list[str]] = {
    "cgan": ["cgan", "model.clip_norm=0.1"],
    "cyclegan": ["cyclegan", "model.history=0"],
    "dcgan": ["dcgan", "model.discriminator_norm=spectral", "regularizer=gradient_penalty"],
    "pix2pix": ["pix2pix"],
    "r3gan": ["r3gan", "model.burn_in=null"],
    "srgan": ["srgan", "model.pixel_images=0", "model.content=discriminator", "model.lr_steps=[]"],
    "style_transfer": ["style_transfer"],
    "vanilla": ["vanilla", "model.ema_half_life=null"],
    "ada": ["vanilla", "model.clip_norm=0.1", "augment=ada", "model.augment.interval=16", "model.augment.speed=100"],
}


def png(pixels: np.ndarray) -> bytes:
    """An image uint8 [H, W] or [H, W, 3] as the bytes of a file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def shard(path: Path, members: dict[str, bytes] | list[tuple[str, bytes]]) -> Path:
    """A .tar of these members, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for name, content in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def digits_in_shards(folder: Path) -> None:
    """0.tar, 1.tar and 2.tar of 16 digits each, with their labels, in WebDataset's format."""
    images = digits()["train"]
    for part in range(3):
        members = {}
        for n in range(part * 16, part * 16 + 16):
            members |= {f"{n}.cls": b"%d" % int(images.labels[n]), f"{n}.png": png(images.images[n, 0].numpy())}
        shard(folder / f"{part}.tar", members)


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None]]:
    """A file system of 1 MB at `folder`, and what fills it up. Where none may be mounted, no file can grow instead."""
    folder.mkdir(parents=True)
    mount = f"mount -t tmpfs -o size=1m tmpfs {shlex.quote(str(folder))}"
    mounted = not subprocess.run(mount, shell=True, capture_output=True, check=False).returncode

    def fill() -> None:
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
            return
        file = os.open(folder / "filling", os.O_WRONLY | os.O_CREAT)
        with suppress(OSError):
            while True:
                os.write(file, bytes(4096))
        os.close(file)

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error then, in place of the end
    try:
        yield fill
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def when(images: int, act: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run do something, given its model, as the batch begins with which it will have seen so many images."""
    begin = GAN.on_train_batch_start

    def start(self: GAN, batch: Any, batch_idx: int) -> None:
        begin(self, batch, batch_idx)
        if self.images == images:
            act(self)

    monkeypatch.setattr(GAN, "on_train_batch_start", start)


def same(a: Any, b: Any) -> bool:
    """Whether two nested structures of tensors and plain data are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def pairs(n: int = 2, *, x: int = 3, y: int = 3, size: tuple[int, int] = (16, 16)) -> ImagePairs:
    """Noise as `n` unaligned pairs without labels."""
    zero = torch.zeros(n, dtype=torch.int64)
    images = [torch.rand(n, channels, *size) * 2 - 1 for channels in (x, y)]
    return ImagePairs(images[0], images[1], zero, zero, zero.bool(), torch.arange(n))


class Batches(L.LightningDataModule):
    """These batches, once."""

    def __init__(self, batches: list[Any]) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]


def train_on(model: Any, batches: list[Any]) -> None:
    """One step on each batch; `model.run_log.latest` then has the terms of the last one."""
    model.run_log.every = 1
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, log_every_n_steps=1, **quiet)  # type: ignore[arg-type]
    trainer.fit(model, Batches(batches))


def checkpoint_of_nothing(**zoo: Any) -> dict[str, Any]:
    """The least that reads as a checkpoint of this zoo: without weights, settings or anything to go on with."""
    config = {"seed": 1, "data": {}, "metrics": {}}
    own = {"variant": "zoo.model.vanilla.VanillaGAN", "images": 5, "config": config, **zoo}
    return {"zoo": own, "state_dict": {}, "hyper_parameters": {}}


def write_vgg(name: str, path: Path) -> Path:
    """A file like torchvision's, of random weights; the classifier, which is not used, left out."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = getattr(torchvision.models, name)()
    state = {name: value for name, value in network.state_dict().items() if name.startswith("features.")}
    for name, value in state.items():
        spread = (2 / (9 * value.shape[1])) ** 0.5 if value.dim() == 4 else 0.1
        state[name] = spread * torch.randn(value.shape)
    torch.save(state, path)
    return path
