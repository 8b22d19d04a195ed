"""How fast a step of training is beside the code that people use today, each in turn with it: their time over ours.

    python benchmarks/peers.py --examples ~/examples --junyanz ~/pytorch-CycleGAN-and-pix2pix \
        --rosinality ~/stylegan2-pytorch --lornatang ~/SRGAN-PyTorch --real-esrgan ~/Real-ESRGAN
    python benchmarks/peers.py --junyanz ~/pytorch-CycleGAN-and-pix2pix --rows cyclegan-16 pix2pix --rounds 3 --steps 2

A path is a checkout of the repository that its flag names (--help has their addresses); nothing of theirs is in this
one. Rows whose path is not given are left out. Above 1, zoo is faster.

Equal work: the same batch of random images, in memory, in every step of both; networks of the same widths, whose
parameters are counted in the table; as many steps of G and D, with the same losses. Theirs run as they stand: their
loop or their step, their networks, their optimizers. Zoo's is its model in a Lightning trainer, with all that it does
in each step: the checks that nothing diverges, the books, an average of G where the configuration has one. Left out of
both are data loading, pictures, charts, bars and checkpoints. What differs, or was done to theirs:

examples          dcgan/main.py, executed; its `print` and `save_image` do nothing, though what it prints is read from
                  the networks, and each hundredth step makes its picture's images.
examples-32       the same loop with zoo's networks (NCHW, a sigmoid after D, as its loss asks), its own being of 64
                  pixels.
lightning         no checkout: the GAN of Lightning's page on manual optimization, written here in its order with zoo's
                  networks (NCHW) in the same trainer. It averages nothing, and logs two losses a step.
cyclegan          set_input and optimize_parameters of models/cycle_gan_model.py with its defaults, 6 blocks.
pix2pix           those of models/pix2pix_model.py with its defaults; zoo's networks have batch normalisation here too.
stylegan2         `train` of train.py, lazy R1 and path length in 1 of 16 and of 4 turns, mixing 0.9, both sides. The
                  channels of its networks are zoo's: its table, which below 64 pixels is a constant, is replaced. It
                  runs G for D's turn and again for G's, and has steps of their own for the penalties; zoo runs G once
                  for both turns, and has penalties as terms. Segments are multiples of 16 steps: each has its share.
stylegan2-filter  the same. On CPUs its filter [1, 3, 3, 1] is a convolution of one channel, a slow one; on GPUs it is
                  compiled. Here it is one of all channels, as zoo's: what its order costs without that.
srresnet          `train` of train_net.py, the phase of the pixel loss, with its average; it crops and turns nothing, as
                  zoo does that where data are loaded. Nothing is added to what zoo's network gives, as to theirs.
upscale           `zoo upscale` (tiles of 192, equal to the whole image) beside `RealESRGANer.enhance` (tiles of 192 and
                  10 pixels around them, as inference_realesrgan.py has it, which are not equal to it), from array to
                  array, the same untrained network; a step is an image. It needs opencv-python-headless.

Protocol: benchmarks/turns.py, one process a row after the other, ratios within a round, median [lowest, highest]. With
--time cpu (the default) it is the processor's time of this process, which other programs disturb little; wall is what a
user waits. `convolution` is that share of a step under the profiler: the library's, which no loop can change.
"""

import argparse
import ast
import contextlib
import copy
import io
import platform
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import lightning as L  # noqa: E402
import torch  # noqa: E402
from checkouts import Checkout, Repository  # noqa: E402
from hydra.utils import instantiate  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, conv2d  # noqa: E402
from torch.nn.functional import pad as pad_zeros  # noqa: E402
from turns import Arm, Loop, clock, fitting, ratios, shares, spread, stepping, take_turns  # noqa: E402

from zoo.batch import ImagePairs, LabelledImages, LowHigh  # noqa: E402
from zoo.run.config import compose  # noqa: E402
from zoo.use.upscale import bands  # noqa: E402

GITHUB = "https://github.com/"
REPOSITORIES = {
    repository.flag: repository
    for repository in (
        Repository("examples", f"{GITHUB}pytorch/examples"),
        Repository("junyanz", f"{GITHUB}junyanz/pytorch-CycleGAN-and-pix2pix", ("dominate", "visdom", "wandb")),
        Repository("rosinality", f"{GITHUB}rosinality/stylegan2-pytorch", ("lmdb", "tqdm", "wandb")),
        Repository("lornatang", f"{GITHUB}Lornatang/SRGAN-PyTorch", ("cv2", "lmdb", "natsort", "tensorboard")),
        Repository("real-esrgan", f"{GITHUB}xinntao/Real-ESRGAN", ("basicsr",)),
    )
}
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """One peer at one setting."""

    name: str
    work: str  # for the table
    peer: str | None  # whose code: a flag; None: written here
    make: Callable[["Row", Any, ExitStack], "Pair"]  # of this, the checkout, and what is closed afterwards
    pixels: int = 32
    width: int = 64
    batch: int = 1
    channels: int = 3
    steps: int = 1  # of a segment, unless --steps says: some seconds
    steps_of: int = 1  # segments are multiples of so many steps


@dataclass(frozen=True)
class Pair:
    """Two arms that do the same work, and the numbers of their parameters."""

    zoo: Arm
    theirs: Arm
    sizes: tuple[int, int]


def ours(*overrides: str) -> Any:
    """Zoo's model as configured."""
    L.seed_everything(1, verbose=False)
    return instantiate(compose(*overrides, "max_images=1_000_000").model, _convert_="all")


def noise(row: Row) -> Tensor:
    """Images [N, C, H, W] in [-1, 1]."""
    return torch.rand(row.batch, row.channels, row.pixels, row.pixels) * 2 - 1


def size(*networks: nn.Module) -> int:
    """How many parameters are trained."""
    return sum(p.numel() for network in networks for p in network.parameters() if p.requires_grad)


# DCGAN --------------------------------------------------------------------------------------------------------------


def dcgan(row: Row) -> tuple[Any, LabelledImages]:
    sizes = [f"data.image_size={row.pixels}", f"data.channels={row.channels}", f"model.width={row.width}"]
    zero = torch.zeros(row.batch, dtype=torch.int64)
    return ours("model=dcgan", *sizes), LabelledImages(noise(row), zero, torch.arange(row.batch))


class OfMaps(nn.Module):
    """G of latents [N, K, 1, 1]."""

    def __init__(self, G: nn.Module) -> None:
        super().__init__()
        self.G = G

    def forward(self, z: Tensor) -> Tensor:
        return self.G(z.flatten(1))


def nchw(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def examples(row: Row, checkout: Checkout, stack: ExitStack, *, networks: bool = True) -> Pair:
    """dcgan/main.py, as far as its first batch; then with its `networks`, or with copies of zoo's."""
    model, batch = dcgan(row)
    file, folder = checkout.file("dcgan/main.py"), stack.enter_context(tempfile.TemporaryDirectory())
    code, scope = compile(file.read_text(encoding="utf-8"), str(file), "exec"), {"__name__": "__main__"}
    words = ["--dataset", "fake", "--imageSize", row.pixels, "--ngf", row.width, "--ndf", row.width]
    words += ["--batchSize", row.batch, "--niter", 1, "--outf", folder]

    def run(loop: Loop) -> None:
        data = loop.batches(lambda: [batch.image, batch.label])
        with mock.patch("torch.utils.data.DataLoader", return_value=data):
            exec(code, scope)

    with mock.patch.object(sys, "argv", [str(file), *map(str, words)]), contextlib.redirect_stdout(io.StringIO()):
        theirs = Loop(run)
    scope |= {"print": lambda *_: None, "vutils": SimpleNamespace(save_image=lambda *_, **__: None)}
    if not networks:
        scope |= {"netG": OfMaps(nchw(model.G)), "netD": nn.Sequential(nchw(model.D), nn.Sigmoid())}
        for player in "GD":
            adam = torch.optim.Adam(scope[f"net{player}"].parameters(), lr=2e-4, betas=(0.5, 0.999))
            scope[f"optimizer{player}"] = adam
    sizes = size(model.G, model.D), size(scope["netG"], scope["netD"])
    return Pair(stack.enter_context(fitting(model, batch)), stack.enter_context(theirs), sizes)


def examples_loop(row: Row, checkout: Checkout, stack: ExitStack) -> Pair:
    return examples(row, checkout, stack, networks=False)


class SimpleGAN(L.LightningModule):
    """The order of operations of the GAN in Lightning's pages on manual optimization."""

    def __init__(self, G: nn.Module, D: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.G, self.D, self.latent_dim = G, D, latent_dim

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (self.G, self.D)]

    def training_step(self, batch: LabelledImages, batch_idx: int) -> None:
        opt_G, opt_D = self.optimizers()  # type: ignore[misc,attr-defined]
        x = batch.image
        real, generated = (torch.full((len(x),), float(label), device=self.device) for label in (1, 0))
        fake = self.G(torch.randn(len(x), self.latent_dim, device=self.device))

        loss_D = binary_cross_entropy_with_logits(self.D(x), real)
        loss_D = loss_D + binary_cross_entropy_with_logits(self.D(fake.detach()), generated)
        opt_D.zero_grad()
        self.manual_backward(loss_D)
        opt_D.step()

        loss_G = binary_cross_entropy_with_logits(self.D(fake), real)
        opt_G.zero_grad()
        self.manual_backward(loss_G)
        opt_G.step()
        self.log_dict({"g_loss": loss_G, "d_loss": loss_D}, prog_bar=True)


def lightning(row: Row, checkout: None, stack: ExitStack) -> Pair:
    model, batch = dcgan(row)
    theirs = SimpleGAN(nchw(model.G), nchw(model.D), model.hparams["latent_dim"])
    sizes = size(model.G, model.D), size(theirs)
    arms = [stack.enter_context(fitting(module, batch)) for module in (model, theirs)]
    return Pair(arms[0], arms[1], sizes)


# Translation --------------------------------------------------------------------------------------------------------


OF_JUNYANZ: dict[str, Any] = {  # what their command line sets, the same for both models
    **{"isTrain": True, "gpu_ids": [], "device": CPU, "name": "peer", "preprocess": "none", "direction": "AtoB"},
    **{"input_nc": 3, "output_nc": 3, "netD": "basic", "n_layers_D": 3, "init_type": "normal", "init_gain": 0.02},
    **{"lr": 0.0002, "beta1": 0.5},
}


def junyanz(
    row: Row, checkout: Checkout, stack: ExitStack, *, module: str, kind: str, aligned: bool, zoo: list[str],
    **options: Any,
) -> Pair:  # fmt: skip
    """One of their models, stepped as their train.py does, beside one of zoo's."""
    zoo += [f"data.image_size={row.pixels}", f"model.width={row.width}", f"model.discriminator_width={row.width}"]
    model, zero = ours(*zoo), torch.zeros(row.batch, dtype=torch.int64)
    batch = ImagePairs(noise(row), noise(row), zero, zero, (zero == 0) & aligned, torch.arange(row.batch))
    options |= {
        "ngf": row.width,
        "ndf": row.width,
        "checkpoints_dir": stack.enter_context(tempfile.TemporaryDirectory()),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = getattr(checkout.module(f"models.{module}"), kind)(argparse.Namespace(**OF_JUNYANZ, **options))
    data = {"A": batch.x, "B": batch.y, "A_paths": [], "B_paths": []}

    def step() -> None:
        theirs.set_input(data)
        theirs.optimize_parameters()

    networks = [getattr(theirs, f"net{name}") for name in theirs.model_names]
    sizes = size(*(n for player in model.players().values() for n in player)), size(*networks)
    return Pair(stack.enter_context(fitting(model, batch)), stepping(step), sizes)


def cyclegan(row: Row, checkout: Checkout, stack: ExitStack) -> Pair:
    return junyanz(
        row, checkout, stack, module="cycle_gan_model", kind="CycleGANModel", aligned=False, zoo=["model=cyclegan"],
        netG="resnet_6blocks", norm="instance", no_dropout=True, pool_size=50, gan_mode="lsgan", lambda_A=10.0,
        lambda_B=10.0, lambda_identity=0.5,
    )  # fmt: skip


def pix2pix(row: Row, checkout: Checkout, stack: ExitStack) -> Pair:
    return junyanz(
        row, checkout, stack, module="pix2pix_model", kind="Pix2PixModel", aligned=True,
        zoo=["model=pix2pix", "model.norm=batch"], netG="unet_128", norm="batch", no_dropout=False, pool_size=0,
        gan_mode="vanilla", lambda_L1=100.0,
    )  # fmt: skip


# StyleGAN2 ----------------------------------------------------------------------------------------------------------


class Channels(ast.NodeTransformer):
    """Puts other channels into tables {4: ..., 8: ..., ...} of a program."""

    def __init__(self, channels: dict[int, int]) -> None:
        self.channels, self.found = channels, 0

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        if not set(self.channels) <= set(keys):
            return node
        self.found += 1
        return ast.parse(repr(self.channels), mode="eval").body


class Quiet:
    """A bar that shows nothing."""

    def __init__(self, numbers: range, **_: Any) -> None:
        self.numbers = numbers

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def set_description(self, text: str) -> None:
        pass


def depthwise(x: Tensor, kernel: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> Tensor:
    """What their upfirdn2d does, as a convolution of each channel of x [N, C, H, W] with the kernel [k, k]."""
    if up > 1:
        n, c, h, w = x.shape
        x = pad_zeros(x[:, :, :, None, :, None], (0, up - 1, 0, 0, 0, up - 1)).reshape(n, c, h * up, w * up)
    weight = kernel.flip(0, 1).expand(x.shape[1], 1, *kernel.shape)
    return conv2d(pad_zeros(x, (*pad, *pad)), weight, stride=down, groups=x.shape[1])


def stylegan2(row: Row, checkout: Checkout, stack: ExitStack, *, upfirdn2d: Any = None) -> Pair:
    overrides = ["model=stylegan_lite", f"data.image_size={row.pixels}", "data.channels=3", "regularizer=r1_lazy"]
    overrides += [f"model.channel_base={16 * row.pixels}", f"model.channel_max={row.width}"]
    model = ours(*overrides, "model.mixing=0.9", "model.path_length.weight=2")
    zero = torch.zeros(row.batch, dtype=torch.int64)
    batch = LabelledImages(noise(row), zero, torch.arange(row.batch))

    channels = {4 << k: conv.weight.shape[0] for k, conv in enumerate(model.G.convs[::2])}
    tables = Channels(channels)
    with mock.patch("torch.utils.cpp_extension.load"):  # what is compiled is for GPUs
        networks = checkout.module("model", edit=tables)
        program = checkout.module("train")
    if not tables.found:
        raise ValueError(f"{checkout}: model.py has no table of channels from 4 pixels on, which zoo's are put into")
    program.tqdm, networks.upfirdn2d = Quiet, upfirdn2d or networks.upfirdn2d
    h = model.hparams
    args = argparse.Namespace(
        iter=10**9, start_iter=1, batch=row.batch, size=row.pixels, latent=h["w_dim"], n_mlp=h["mapping_layers"],
        n_sample=1, r1=1.0, path_regularize=2.0, path_batch_shrink=2, d_reg_every=16, g_reg_every=4, mixing=0.9,
        lr=h["lr"]["G"], distributed=False, wandb=False, augment=False, augment_p=0.0, ada_target=0.6,
        ada_length=500_000, ada_every=256, channel_multiplier=2, arch="stylegan2", local_rank=0, ckpt=None,
    )  # fmt: skip
    G, averaged = (networks.Generator(args.size, args.latent, args.n_mlp) for _ in range(2))
    D = networks.Discriminator(args.size)
    adams = []
    for network, every in ((G, args.g_reg_every), (D, args.d_reg_every)):
        part = every / (every + 1)
        adams.append(torch.optim.Adam(network.parameters(), lr=args.lr * part, betas=(0**part, 0.99**part)))

    def run(loop: Loop) -> None:
        data = loop.batches(batch.image.clone)  # it has gradients computed to what it gets
        program.train(args, data, G, D, *adams, averaged, CPU)

    theirs, sizes = stack.enter_context(Loop(run)), (size(model.G, model.D), size(G, D))
    return Pair(stack.enter_context(fitting(model, batch)), theirs, sizes)


def stylegan2_filter(row: Row, checkout: Checkout, stack: ExitStack) -> Pair:
    return stylegan2(row, checkout, stack, upfirdn2d=depthwise)


# Super-resolution ---------------------------------------------------------------------------------------------------


class Prefetcher:
    """Their way to ask for a batch."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def reset(self) -> None:
        pass

    def next(self) -> dict[str, Tensor] | None:
        return next(self.batches, None)


def srgan(row: Row, blocks: int) -> Any:
    overrides = [f"model.width={row.width}", f"model.blocks={blocks}", "model.skip=none", "model.image_range=unit"]
    return ours("model=srgan", f"data.patch_size={row.pixels}", "model.pixel_images=900_000", *overrides)


def srresnet(row: Row, checkout: Checkout, stack: ExitStack, *, blocks: int = 8) -> Pair:
    model, high = srgan(row, blocks), noise(row)
    low = avg_pool2d(high, 4)
    batch = LowHigh(low, high, torch.arange(row.batch))
    program = checkout.module("train_net")
    config: dict[str, Any] = {
        "SCALE": 4,
        "MODEL": {
            "EMA": {"ENABLE": True, "DECAY": 0.999, "COMPILED": False},
            "G": {
                **{"NAME": "srresnet_x4", "IN_CHANNELS": 3, "OUT_CHANNELS": 3, "CHANNELS": row.width},
                **{"NUM_RCB": blocks, "COMPILED": False},
            },
        },
        "TRAIN": {
            "DATASET": {"GT_IMAGE_SIZE": row.pixels},
            "OPTIM": {"NAME": "Adam", "LR": 1e-4, "BETAS": [0.9, 0.999], "EPS": 1e-4, "WEIGHT_DECAY": 0.0},
            "LOSSES": {"PIXEL_LOSS": {"NAME": "MSELoss", "WEIGHT": [1.0]}},
            "PRINT_FREQ": 10**9,
        },
    }
    for name in ("crop", "rotate", "vertically_flip", "horizontally_flip"):
        setattr(program, f"random_{name}_torch", lambda gt, lr, *_: (gt, lr))
    program.ProgressMeter = lambda *_, **__: SimpleNamespace(display=lambda *_: None)
    theirs, averaged = program.build_model(config, CPU)
    criterion, adam = program.define_loss(config, CPU), program.define_optimizer(theirs, config)
    unit = {"gt": (high + 1) / 2, "lr": (low + 1) / 2}

    def run(loop: Loop) -> None:
        data, scaler = Prefetcher(loop.batches(lambda: unit)), torch.amp.GradScaler("cpu", enabled=False)
        writer = SimpleNamespace(add_scalar=lambda *_: None)
        program.train(theirs, averaged, data, criterion, adam, 0, scaler, writer, CPU, config)

    arm = stack.enter_context(Loop(run))
    return Pair(stack.enter_context(fitting(model, batch)), arm, (size(model.G), size(theirs)))


class OfUnit(nn.Module):
    """A network of images in [0, 1], of one in [-1, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return (self.network(x * 2 - 1) + 1) / 2


def upscale(row: Row, checkout: Checkout, stack: ExitStack, *, blocks: int = 8, tile: int = 192) -> Pair:
    model = srgan(Row("", "", None, upscale, pixels=48, width=row.width), blocks).eval()
    network, file = OfUnit(nchw(model.G)).eval(), Path(stack.enter_context(tempfile.TemporaryDirectory()), "w.pth")
    torch.save({"params": network.state_dict()}, file)
    program = checkout.module("realesrgan.utils", edit=ast.NodeTransformer())  # its package wants all of BasicSR
    upsampler = program.RealESRGANer(
        scale=4, model_path=str(file), model=network, tile=tile, tile_pad=10, pre_pad=0, device=CPU
    )
    pixels = torch.randint(0, 256, (row.pixels, row.pixels, 3), dtype=torch.uint8).numpy()
    quiet = contextlib.redirect_stdout(io.StringIO())

    def theirs() -> None:
        with quiet:
            upsampler.enhance(pixels, outscale=4)

    sizes = size(model.G), size(network)
    return Pair(stepping(lambda: list(bands(model, pixels, tile=tile))), stepping(theirs), sizes)


ROWS = (
    Row("examples", "DCGAN 64x64x3, width 64, batch 64", "examples", examples, 64, 64, 64, steps=2),
    Row("examples-32", "its loop at 32x32x1, width 32, batch 16", "examples", examples_loop, 32, 32, 16, 1, steps=30),
    Row("lightning", "GAN by hand, 32x32x1, width 32, batch 64", None, lightning, 32, 32, 64, 1, steps=10),
    Row("cyclegan-16", "CycleGAN 128x128x3, width 16, batch 1", "junyanz", cyclegan, 128, 16, steps=4),
    Row("cyclegan-64", "CycleGAN 128x128x3, width 64, batch 1", "junyanz", cyclegan, 128, 64),
    Row("pix2pix", "pix2pix, unet_128, width 64, batch 1", "junyanz", pix2pix, 128, 64, steps=2),
    Row("stylegan2", "StyleGAN2 32x32x3, batch 16", "rosinality", stylegan2, batch=16, steps=16, steps_of=16),
    Row("stylegan2-filter", "with another filter", "rosinality", stylegan2_filter, batch=16, steps=16, steps_of=16),
    Row("srresnet", "SRResNet x4, 8 blocks of width 32, 16 of 96x96", "lornatang", srresnet, 96, 32, 16, steps=3),
    Row("upscale", "384x384 to 1536x1536 by that network", "real-esrgan", upscale, 384, 32),
)


# The table ----------------------------------------------------------------------------------------------------------


def measured(row: Row, checkout: Checkout | None, *, rounds: int, steps: int | None = None, time: Any = "cpu") -> str:
    """A row of the table.

    Raises:
        ValueError: if its checkout lacks what it needs.
    """
    steps = -(-(steps or row.steps) // row.steps_of) * row.steps_of
    with ExitStack() as stack:
        pair = row.make(row, checkout, stack)
        arms = {"zoo": pair.zoo, "theirs": pair.theirs}
        seconds = take_turns(arms, rounds=rounds, steps=steps, now=clock(time), warmup=2)
        found = spread(ratios(seconds, "theirs", "zoo"))
        of_a_step = [shares(arm, steps=row.steps_of) for arm in arms.values()]
    cells = [
        " / ".join(f"{1000 * statistics.median(each):,.0f}" for each in seconds.values()),
        " / ".join(f"{parts.get('convolution', 0):.0%}" for parts in of_a_step),
        " / ".join(f"{number / 1e6:.2f}" for number in pair.sizes),
        checkout.commit if checkout else f"lightning {L.__version__}",
    ]
    return f"| {row.name} | {row.work} | {found} | {' | '.join(cells)} |"


def chosen(asked: argparse.Namespace) -> list[tuple[Row, Checkout | None]]:
    """The rows that are asked for, and those that can be run, with the checkouts.

    Raises:
        ValueError: for a row that is asked for, and whose path is not given.
    """
    checkouts = {
        flag: Checkout(repository, path.expanduser().resolve())
        for flag, repository in REPOSITORIES.items()
        if (path := getattr(asked, flag.replace("-", "_"))) is not None
    }
    rows = []
    for row in ROWS:
        if asked.rows and row.name not in asked.rows:
            continue
        if row.peer is None or row.peer in checkouts:
            rows.append((row, checkouts.get(row.peer or "")))
            continue
        need = f"{row.name} needs --{row.peer} PATH, a checkout of {REPOSITORIES[row.peer].url}"
        if asked.rows:
            raise ValueError(need)
        print(f"left out: {need}")
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for flag, repository in REPOSITORIES.items():
        parser.add_argument(f"--{flag}", type=Path, metavar="PATH", help=f"a checkout of {repository.url}")
    names = [row.name for row in ROWS]
    parser.add_argument("--rows", nargs="+", choices=names, metavar="ROW", help=f"of {', '.join(names)}; all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="in a segment; each row has its own number")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--time", choices=("cpu", "wall"), default="cpu")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    warnings.filterwarnings("ignore")
    try:
        rows = chosen(asked)
        print(
            f"{platform.processor() or platform.machine()}, {asked.threads} threads, torch {torch.__version__}, "
            f"lightning {L.__version__}; {asked.time} time, {asked.rounds} rounds, median [lowest, highest]; "
            "pairs are zoo / theirs"
        )
        print("| row | work | theirs / zoo | ms a step | convolution | M parameters | commit |")
        print("|---" * 7 + "|")
        for row, checkout in rows:
            print(measured(row, checkout, rounds=asked.rounds, steps=asked.steps, time=asked.time), flush=True)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
