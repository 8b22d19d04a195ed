"""zoo import: other people's files become folders that everything here takes."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from style_networks import Reference, networks, persistence, rosinality
from test_cli import zoo

from zoo.loading import load
from zoo.networks.translators import ResNetGenerator


def small(**settings: Any) -> Reference:
    return Reference([8, 8, 4], z_dim=6, w_dim=6, layers=2, **settings)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (g, d), (g_ema, _) = rosinality(small()), rosinality(small(seed=5))
    torch.save({"g": g, "d": d, "g_ema": g_ema, "args": None}, tmp_path / "faces.pt")
    return tmp_path / "faces.pt"


@pytest.mark.slow
def test_a_folder_that_is_used(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    said = zoo("import", file, "-o", folder)
    assert "G, G_ema, D of rosinality/stylegan2-pytorch as StyleGANLite (model=stylegan_lite)" in said
    assert "passed over: 'args'" in said
    card = (folder / "README.md").read_text()
    assert "rosinality/stylegan2-pytorch" in card
    assert "10,000 latents" in card
    assert str(tmp_path) not in card + (folder / "config.json").read_text()
    model = load(folder)
    ours, z = small(seed=5), torch.randn(2, 6)
    with torch.no_grad():
        assert torch.allclose(model.from_latents(z), ours.image(ours.w(z)), atol=1e-4)
    zoo("sample", folder, "-n", 2, "-o", tmp_path / "grid.png")
    assert (tmp_path / "grid.png").is_file()


def test_of_classes(tmp_path: Path) -> None:
    G, D = networks(small(classes=3, clamp=256))
    with persistence():
        (tmp_path / "x.pkl").write_bytes(pickle.dumps({"G": G, "D": D, "G_ema": G}))
    zoo("import", tmp_path / "x.pkl", "--as", "stylegan_lite", "-o", tmp_path / "new")
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["hyperparameters"]["classes"] == ["0", "1", "2"]
    assert config["config"]["data"]["_target_"] == "zoo.data.folder.LabelledImageFolder"
    zoo("sample", tmp_path / "new", "--label", "2", "-n", 1, "-o", tmp_path / "grid.png")


@pytest.mark.slow
def test_a_folder_of_files_and_several_files(tmp_path: Path) -> None:
    """One for each network, as CycleGAN's authors have them: the newest make one model."""
    source, states = tmp_path / "checkpoints", {}
    source.mkdir()
    for name in ("latest_net_G_A", "latest_net_G_B", "5_net_G_B"):
        ours = ResNetGenerator(c_in=3, c_out=3, width=2, blocks=1, norm="instance").state_dict()
        state = {f"model.{key.replace('.f.', '.conv_block.')}": weight for key, weight in ours.items()}
        for key in [
            key for key in state if key.endswith("weight")
        ]:  # theirs have biases before each norm; 11 and 14 are transposed
            state.setdefault(f"{key[:-6]}bias", torch.zeros(state[key].shape[key.split(".")[1] in ("11", "14")]))
        states[name] = ours
        torch.save(state, source / f"{name}.pth")
    both = [source / "latest_net_G_A.pth", source / "latest_net_G_B.pth"]
    for arguments in ([source], both):
        folder = tmp_path / f"of_{len(arguments)}"
        said = zoo("import", *arguments, "-o", folder)
        assert "G, F of junyanz/pytorch-CycleGAN-and-pix2pix as CycleGAN (model=cyclegan)" in said
        assert "latest_net_G_A.pth, latest_net_G_B.pth" in (folder / "README.md").read_text()
        model = load(folder)
        for network, name in ((model.G, "latest_net_G_A"), (model.F, "latest_net_G_B")):
            assert all(torch.equal(weight, states[name][key]) for key, weight in network.state_dict().items())
    said = fails("cyclegan needs both", "import", both[0], "--as", "cyclegan", "-o", tmp_path / "new")
    assert said.startswith(str(both[0]))


def fails(match: str, *arguments: object) -> str:
    with pytest.raises(ValueError, match=match) as error:
        zoo(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_sentences(file: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    fails("--as=stylegan_light is no model.*stylegan_lite", "import", file, "--as", "stylegan_light", "-o", new)
    said = fails("not dcgan", "import", file, "--as", "dcgan", "-o", new)
    assert said.startswith(str(file))
    fails("there is no such file", "import", tmp_path / "none.pt", "-o", new)
    torch.save({"epoch": 1, "state": {"a.b": torch.ones(1)}}, tmp_path / "other.pt")
    said = fails("no known format", "import", tmp_path / "other.pt", "-o", new)
    assert "its first keys are 'epoch', 'state', and in 'state' 'a.b'" in said
    assert "rosinality/stylegan2-pytorch" in said
    assert "NVlabs/stylegan2-ada-pytorch" in said
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Attack()))
    fails("bad.pkl is refused: it asks for posix.system", "import", tmp_path / "bad.pkl", "-o", new)
    g, _d = rosinality(small())
    torch.save({"g_ema": g | {"input.input": g["input.input"] * float("nan")}}, tmp_path / "nan.pt")
    said = fails("no numbers", "import", tmp_path / "nan.pt", "-o", new)
    assert said.startswith(str(tmp_path / "nan.pt"))  # and not of a run of this zoo that has diverged
    assert said == fails("no numbers", "sample", tmp_path / "nan.pt", "-o", tmp_path / "grid.png")
    assert not new.exists()
    full = tmp_path / "full"
    full.mkdir()
    (full / "a").touch()
    fails("not empty", "import", file, "-o", full)
    assert os.listdir(full) == ["a"]


class Attack:
    def __reduce__(self) -> Any:
        return os.system, ("touch malice-was-here",)


@pytest.mark.slow
def test_a_discriminator_alone_is_for_start(tmp_path: Path) -> None:
    """It loads, and what would make images by the generator that is not there says so."""
    sizes = {0: (4, 1), 2: (8, 4), 5: (1, 8)}
    state = {f"main.{k}.weight": torch.randn(*shape, 4, 4) for k, shape in sizes.items()}
    state |= {f"main.3.{name}": torch.rand(8) for name in ("weight", "bias", "running_mean", "running_var")}
    torch.save(state, tmp_path / "netD.pth")
    assert "D of pytorch/examples" in zoo("import", tmp_path / "netD.pth", "-o", tmp_path / "new")
    model = load(tmp_path / "new")
    assert torch.equal(model.D[0].weight, state["main.0.weight"])
    with pytest.raises(ValueError, match="a discriminator alone, for start=; DCGAN makes images by G"):
        model.sample(1)
    fails("has a discriminator alone, which makes no images for zoo sample", "sample", tmp_path / "new")
