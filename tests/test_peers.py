"""benchmarks/peers.py, with checkouts that have the peers' interfaces and hardly anything in them."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common import ROOT, program

import train

sys.path.insert(0, str(ROOT / "benchmarks"))  # they import each other by name
peers = program("benchmarks/peers.py")

ROW = re.compile(
    r"\| (?P<name>[\w-]+) \| [^|]+ \| (?P<ratio>[\d.]+) \[[\d.]+, [\d.]+\] \| [\d,]+ / [\d,]+ \| \d+% / \d+% "
    r"\| (?P<zoo>[\d.]+) / (?P<theirs>[\d.]+) \| (?P<commit>[^|]+) \|"
)

FILES = {
    "examples": {
        "dcgan/main.py": """
            import argparse, torch, torch.utils.data, torchvision.utils as vutils
            from torch import nn, optim
            parser = argparse.ArgumentParser()
            for name in ("dataset", "outf"):
                parser.add_argument(f"--{name}")
            for name in ("imageSize", "ngf", "ndf", "batchSize", "niter"):
                parser.add_argument(f"--{name}", type=int)
            opt = parser.parse_args()
            print("said at the start")
            dataloader = torch.utils.data.DataLoader([], batch_size=opt.batchSize, num_workers=2)
            netG = nn.Sequential(nn.ConvTranspose2d(100, 3, opt.imageSize), nn.Tanh())
            netD = nn.Sequential(nn.Conv2d(3, 1, opt.imageSize), nn.Flatten(0), nn.Sigmoid())
            optimizerD, optimizerG = (optim.Adam(net.parameters(), lr=0.0002) for net in (netD, netG))
            criterion = nn.BCELoss()
            for epoch in range(opt.niter):
                for i, data in enumerate(dataloader, 0):
                    label = torch.ones(len(data[0]))
                    fake = netG(torch.randn(len(data[0]), 100, 1, 1))
                    for image, optimizer in ((data[0], optimizerD), (fake, optimizerG)):
                        optimizer.zero_grad()
                        loss = criterion(netD(image), label)
                        loss.backward()
                        optimizer.step()
                    print("said in each step", len(dataloader), loss.item())
                    vutils.save_image(fake, "/nowhere/fake.png")
                torch.save(netG.state_dict(), f"{opt.outf}/netG_epoch_{epoch}.pth")
        """,
    },
    "junyanz": {
        "util/image_pool.py": "import visdom\nclass ImagePool:\n    pass\n",
        "models/__init__.py": "",
        "models/networks.py": """
            from torch import nn
            def define(opt):
                return nn.Conv2d(opt.input_nc, opt.output_nc, 3, padding=1)
        """,
        "models/base_model.py": """
            from util.image_pool import ImagePool
            from . import networks
            import torch
            class Base:
                def __init__(self, opt):
                    self.opt, self.device, self.steps = opt, opt.device, 0
                    for name in self.model_names:
                        setattr(self, "net" + name, networks.define(opt))
                    parameters = [p for name in self.model_names for p in getattr(self, "net" + name).parameters()]
                    self.optimizer = torch.optim.Adam(parameters, lr=opt.lr, betas=(opt.beta1, 0.999))
                    print("initialize network with", opt.init_type)
                def set_input(self, input):
                    self.real_A, self.real_B = input["A"], input["B"]
                def optimize_parameters(self):
                    self.optimizer.zero_grad()
                    made = [getattr(self, "net" + name)(self.real_A) for name in self.model_names]
                    (torch.stack(made) - self.real_B).abs().mean().backward()
                    self.optimizer.step()
        """,
        "models/cycle_gan_model.py": """
            from .base_model import Base
            class CycleGANModel(Base):
                model_names = ["G_A", "G_B", "D_A", "D_B"]
        """,
        "models/pix2pix_model.py": """
            from .base_model import Base
            class Pix2PixModel(Base):
                model_names = ["G", "D"]
        """,
    },
    "rosinality": {
        "op/__init__.py": """
            from torch.utils.cpp_extension import load
            compiled = load("fused", sources=["nowhere.cu"])
            def upfirdn2d(input, kernel, up=1, down=1, pad=(0, 0)):
                return input
        """,
        "model.py": """
            import torch
            from torch import nn
            from op import upfirdn2d
            class Generator(nn.Module):
                def __init__(self, size, style_dim, n_mlp, channel_multiplier=2):
                    super().__init__()
                    channels = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256 * channel_multiplier}
                    self.linear, self.size = nn.Linear(style_dim, channels[size]), size
                    self.image = nn.Linear(channels[size], 3 * size * size)
                def forward(self, styles):
                    image = self.image(self.linear(styles[0])).view(-1, 3, self.size, self.size)
                    return upfirdn2d(image, torch.ones(1, 1)), None
            class Discriminator(nn.Module):
                def __init__(self, size, channel_multiplier=2):
                    super().__init__()
                    channels = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256 * channel_multiplier}
                    self.judge = nn.Sequential(nn.Conv2d(3, channels[size], size), nn.Flatten())
                    self.last = nn.Linear(channels[size], 1)
                def forward(self, image):
                    return self.last(self.judge(image))
        """,
        "train.py": """
            import lmdb, torch
            from tqdm import tqdm
            def endless(loader):
                while True:
                    yield from loader
            def train(args, loader, generator, discriminator, g_optim, d_optim, g_ema, device):
                loader = endless(loader)
                for i in tqdm(range(args.iter), initial=args.start_iter):
                    real = next(loader)
                    assert not real.requires_grad, "that of an earlier step"
                    real.requires_grad = True
                    fake, _ = generator([torch.randn(args.batch, args.latent)])
                    for image, optimizer in ((real, d_optim), (fake, g_optim)):
                        optimizer.zero_grad()
                        discriminator(image).mean().backward()
                        optimizer.step()
        """,
    },
    "lornatang": {
        "utils.py": """
            import cv2
            class ProgressMeter:
                def __init__(self, number, meters, prefix=""):
                    raise AssertionError("nobody asked for a bar")
        """,
        "model.py": """
            from torch import nn
            def srresnet_x4(in_channels, out_channels, channels, num_rcb):
                return nn.Sequential(nn.Conv2d(in_channels, 16 * out_channels, 3, padding=1), nn.PixelShuffle(4))
        """,
        "train_net.py": """
            import torch
            import model
            from natsort import natsorted
            from utils import ProgressMeter
            def random_crop_torch(gt, lr, size, scale):
                raise AssertionError("nobody crops here")
            def build_model(config, device):
                g = config["MODEL"]["G"]
                network = getattr(model, g["NAME"])(g["IN_CHANNELS"], g["OUT_CHANNELS"], g["CHANNELS"], g["NUM_RCB"])
                return network, torch.optim.swa_utils.AveragedModel(network)
            def define_loss(config, device):
                return torch.nn.MSELoss()
            def define_optimizer(g_model, config):
                return torch.optim.Adam(g_model.parameters(), config["TRAIN"]["OPTIM"]["LR"])
            def train(g_model, ema_g_model, data, pixel_criterion, optimizer, epoch, scaler, writer, device, config):
                progress, size = ProgressMeter(len(data), []), config["TRAIN"]["DATASET"]["GT_IMAGE_SIZE"]
                data.reset()
                batch = data.next()
                while batch is not None:
                    gt, lr = random_crop_torch(batch["gt"], batch["lr"], size, config["SCALE"])
                    assert 0 <= gt.min() and gt.max() <= 1
                    g_model.zero_grad()
                    scaler.scale(pixel_criterion(g_model(lr), gt)).backward()
                    scaler.step(optimizer)
                    scaler.update()
                    ema_g_model.update_parameters(g_model)
                    progress.display(0)
                    batch = data.next()
        """,
    },
    "real-esrgan": {
        "realesrgan/__init__.py": "raise AssertionError('it needs all of BasicSR')\n",
        "realesrgan/utils.py": """
            import os
            import numpy as np
            import torch
            from basicsr.utils.download_util import load_file_from_url
            HERE = os.path.dirname(__file__)
            class RealESRGANer:
                def __init__(self, scale, model_path, model, tile, tile_pad, pre_pad, device):
                    model.load_state_dict(torch.load(model_path)["params"])
                    self.model, self.tile = model, tile
                @torch.no_grad()
                def enhance(self, img, outscale):
                    print("Tile 1/1")
                    assert self.tile == 192
                    x = torch.from_numpy(img.astype(np.float32) / 255).permute(2, 0, 1)[None]
                    return (self.model(x).clamp(0, 1) * 255).round().to(torch.uint8), "RGB"
        """,
    },
}
SMALL: dict[str, dict[str, int]] = {
    "examples": {"pixels": 16, "width": 4, "batch": 2},
    "examples-32": {"pixels": 16, "width": 4, "batch": 2},
    "lightning": {"pixels": 16, "width": 4, "batch": 2},
    "cyclegan-16": {"pixels": 16, "width": 4},
    "cyclegan-64": {"pixels": 16, "width": 4},
    "pix2pix": {"pixels": 32, "width": 4, "batch": 2},
    "stylegan2": {"pixels": 16, "width": 4, "batch": 2, "steps_of": 1},
    "stylegan2-filter": {"pixels": 16, "width": 4, "batch": 2, "steps_of": 1},
    "srresnet": {"pixels": 16, "width": 4, "batch": 2},
    "upscale": {"pixels": 24, "width": 2},
}
ROWS = {row.name: row for row in peers.ROWS}


def dedented(text: str) -> str:
    lines = text.strip("\n").split("\n")
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines) + "\n"


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Where each peer's checkout lies."""
    for flag, files in FILES.items():
        for name, text in files.items():
            path = tmp_path / flag / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedented(text))
    return {flag: tmp_path / flag for flag in FILES}


def checkout(flag: str, folder: Path) -> Any:
    return peers.Checkout(peers.REPOSITORIES[flag], folder)


def test_every_row_has_a_small_one() -> None:
    assert set(SMALL) == set(ROWS)


@pytest.mark.parametrize("name", SMALL)
def test_a_row_runs(name: str, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides make their steps, nothing of theirs is printed or left behind, and our modules are ours again."""
    row, place = replace(ROWS[name], **SMALL[name]), str(folders["junyanz"].parent)
    theirs = None if row.peer is None else checkout(row.peer, folders[row.peer])
    capsys.readouterr()
    found = ROW.fullmatch(peers.measured(row, theirs, rounds=2, steps=1))
    assert found
    assert found["name"] == name
    assert float(found["ratio"]) > 0
    assert "said" not in (said := capsys.readouterr().out)
    assert "initialize" not in said
    assert "Tile" not in said
    if name in ("examples-32", "lightning", "upscale"):
        assert found["zoo"] == found["theirs"]  # the same networks
    assert found["commit"] == ("no commit" if theirs else f"lightning {peers.L.__version__}")
    assert not [path for path in sys.path if path.startswith(place)]
    assert sys.modules["train"] is train
    assert not [module for module in sys.modules.values() if place in str(getattr(module, "__file__", ""))]
    assert not {"cv2", "basicsr", "visdom", "natsort"} & set(sys.modules)


def test_who_does_twice_the_work_has_a_ratio_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 1, zoo is faster."""
    time = [0.0]

    def arm(cost: float) -> Any:
        def step() -> None:
            time[0] += cost

        return peers.stepping(step)

    monkeypatch.setattr(peers, "clock", lambda kind: lambda: time[0])
    make = lambda row, checkout, stack: peers.Pair(arm(0.5), arm(1.0), (1_000_000, 2_000_000))
    line = peers.measured(peers.Row("twice", "some work", None, make), None, rounds=3, steps=4)
    assert line.startswith("| twice | some work | 2.00 [2.00, 2.00] | 500 / 1,000 | 0% / 0% | 1.00 / 2.00 | ")


# What is asked for --------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "measured", lambda row, checkout, **settings: f"| {row.name} | {settings['steps']} |")
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(peers.warnings, "filterwarnings", lambda *_: None)


@pytest.mark.usefixtures("quick")
def test_rows_without_a_path_are_left_out(folders: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert peers.main(["--junyanz", str(folders["junyanz"])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith("| None |")] == [
        f"| {name} | None |" for name in ("lightning", "cyclegan-16", "cyclegan-64", "pix2pix")
    ]
    left_out = (
        "left out: stylegan2 needs --rosinality PATH, a checkout of https://github.com/rosinality/stylegan2-pytorch"
    )
    assert left_out in lines


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--rows", "upscale"],
            "upscale needs --real-esrgan PATH, a checkout of https://github.com/xinntao/Real-ESRGAN\n",
        ),
        (
            ["--examples", "/nowhere/examples"],
            "--examples /nowhere/examples: there is no such folder; git clone https://github.com/pytorch/examples "
            "/nowhere/examples\n",
        ),
    ],
)
def test_a_path_that_is_missing(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert peers.main(words) == 1
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("flag", "row", "file"),
    [
        ("examples", "examples", "dcgan/main.py"),
        ("junyanz", "pix2pix", "models/pix2pix_model.py"),
        ("rosinality", "stylegan2", "model.py"),
        ("lornatang", "srresnet", "train_net.py"),
        ("real-esrgan", "upscale", "realesrgan/utils.py"),
    ],
)
def test_a_file_that_is_missing_in_a_checkout(
    flag: str, row: str, file: str, folders: dict[str, Path], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(peers, "ROWS", [replace(ROWS[row], **SMALL[row])])
    (folders[flag] / file).unlink()
    assert peers.main([f"--{flag}", str(folders[flag])]) == 1
    url = peers.REPOSITORIES[flag].url
    assert capsys.readouterr().err == f"--{flag} {folders[flag]}: it has no {file}; a checkout of {url} has\n"


def test_a_package_that_is_missing(folders: dict[str, Path]) -> None:
    """One that its steps need: those that they don't need are stood in for."""
    networks = folders["junyanz"] / "models/networks.py"
    networks.write_text("import no_such_package\n" + networks.read_text())
    with pytest.raises(ValueError, match=r"--junyanz .*: it imports no_such_package, which is not installed here$"):
        checkout("junyanz", folders["junyanz"]).module("models.pix2pix_model")
    pool = checkout("junyanz", folders["junyanz"]).module("util.image_pool")
    with pytest.raises(RuntimeError, match=r"^visdom.Visdom is used, and visdom is not installed$"):
        pool.visdom.Visdom(port=1)


def test_a_table_of_channels_that_is_missing(folders: dict[str, Path]) -> None:
    model = folders["rosinality"] / "model.py"
    model.write_text(model.read_text().replace("{4: 512, 8: 512, 16: 512, 32: 512,", "{32: 512, 16: 512,"))
    with pytest.raises(ValueError, match=r"model.py has no table of channels from 4 pixels on"):
        peers.measured(
            replace(ROWS["stylegan2"], **SMALL["stylegan2"]), checkout("rosinality", folders["rosinality"]), rounds=1
        )


def test_their_networks_have_our_channels(folders: dict[str, Path]) -> None:
    tables = peers.Channels({4: 7, 8: 6, 16: 5})
    model = checkout("rosinality", folders["rosinality"])
    with peers.mock.patch("torch.utils.cpp_extension.load"):
        assert model.module("model", edit=tables).Generator(16, 8, 2).linear.weight.shape == (5, 8)
        assert tables.found == 2
        assert model.module("model").Generator(16, 8, 2).linear.weight.shape == (512, 8)  # what lies there is as it was


def test_the_commit_of_a_checkout(folders: dict[str, Path]) -> None:
    folder = folders["examples"]
    git = lambda *words: (
        subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True).stdout
    )
    git("init")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "all")
    assert checkout("examples", folder).commit == git("rev-parse", "HEAD")[:10]
    (folder / "dcgan/main.py").write_text("")
    assert checkout("examples", folder).commit == git("rev-parse", "HEAD")[:10] + "+"
    assert checkout("examples", folder / "dcgan").commit == "no commit"


def test_the_other_filter_is_theirs() -> None:
    """upfirdn2d by its definition: zeros between pixels and around them, the flipped filter, every `down`-th pixel."""
    torch.manual_seed(1)
    x, kernel = torch.randn(2, 3, 5, 6), torch.randn(4, 4)
    for up, down, pad in ((1, 1, (2, 1)), (2, 1, (2, 1)), (1, 2, (1, 1))):
        spaced = np.zeros((2, 3, 5 * up, 6 * up), np.float32)
        spaced[:, :, ::up, ::up] = x.numpy()
        padded = np.pad(spaced, ((0, 0), (0, 0), pad, pad))
        height, width = padded.shape[2] - 3, padded.shape[3] - 3
        expected = sum(
            kernel.flip(0, 1).numpy()[a, b] * padded[:, :, a : a + height, b : b + width]
            for a in range(4)
            for b in range(4)
        )[:, :, ::down, ::down]
        np.testing.assert_allclose(peers.depthwise(x, kernel, up, down, pad), expected, atol=1e-5)


def test_the_gan_by_hand_is_two_plain_steps() -> None:
    """Weights after one step of it, as of the two losses written out."""
    torch.manual_seed(2)
    G, D = torch.nn.Linear(3, 4), torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Flatten(0))
    x, start = torch.randn(5, 4), [p.detach().clone() for p in (*G.parameters(), *D.parameters())]
    gan = peers.SimpleGAN(G, D, 3)
    batch = peers.LabelledImages(x, torch.zeros(5), torch.arange(5))
    torch.manual_seed(3)
    with peers.fitting(gan, batch) as loop:
        torch.manual_seed(3)
        loop(1)
    stepped = [p.detach().clone() for p in (*G.parameters(), *D.parameters())]

    g, d = start[:2], [p.requires_grad_() for p in start[2:]]
    torch.manual_seed(3)
    z = torch.randn(5, 3)
    logit = lambda image: (image @ d[0].T + d[1])[:, 0]
    loss = torch.nn.functional.softplus(-logit(x)).mean()
    loss = loss + torch.nn.functional.softplus(logit(z @ g[0].T + g[1])).mean()
    gradients = torch.autograd.grad(loss, d)
    for before, gradient, after in zip(d, gradients, stepped[2:], strict=True):
        torch.testing.assert_close(after, before - 2e-4 * gradient.sign(), atol=1e-6, rtol=1e-4)  # Adam's first step
    assert not torch.equal(stepped[0], g[0])
