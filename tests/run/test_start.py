"""start=NAME: what is carried over from the weights of another run, for every variant; and FreezeD."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common import EVERY, SMALL, checkpoint_of_nothing, make, same, some_slow
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional as F

import zoo
from train import run
from zoo.game.freeze import layers_from_image
from zoo.game.gan import GAN
from zoo.run.checkpoint import built, content, read
from zoo.run.start import begin_with
from zoo.use.publish import weights_of
from zoo.weights import folder

Small = Callable[..., DictConfig]


def made(model: str, *overrides: str, seed: int = 1) -> Any:
    """A small model whose every number is random, its averages apart from its networks."""
    torch.manual_seed(seed)
    gan = make(model, *SMALL[model], "metrics=none", *overrides)
    with torch.no_grad():
        for tensor in [*gan.parameters(), *gan.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5)
    return gan


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """Writes a model as the checkpoint of a run."""

    def write(gan: GAN, name: str = "start.ckpt", **changes: Any) -> str:
        content = checkpoint_of_nothing(variant=f"{type(gan).__module__}.{type(gan).__qualname__}", images=5)
        content |= {"state_dict": gan.state_dict(), "hyper_parameters": dict(gan.hparams)} | changes
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return write


def of(gan: GAN, prefix: str) -> dict[str, Tensor]:
    """The tensors of a network, as they are now."""
    return {k: v.clone() for k, v in gan.state_dict().items() if k.startswith(prefix) and torch.is_tensor(v)}


@pytest.mark.parametrize("model", EVERY)
def test_of_the_same_settings_all_is_carried_over(model: str, saved: Callable[..., str]) -> None:
    source, gan = made(model), made(model, seed=2)
    lines = begin_with(gan, saved(source))
    assert len(lines) == 1
    parts = [*gan.deployed(), *gan.averages(), "D", "D_X", "D_Y"]
    for name in parts:
        assert same(of(gan, f"{name}."), of(source, f"{name}.")), name
        assert f"{name} whole" in lines[0] or name in gan.averages() or not hasattr(gan, name)
    assert gan.images == 0
    for average in gan.averages().values():
        assert average.images == 0  # its warm-up begins anew


def test_the_runs_own_stream_is_as_without(saved: Callable[..., str]) -> None:
    start, gan = saved(made("vanilla")), made("vanilla", seed=2)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    begin_with(gan, start)
    assert torch.equal(torch.rand(3), expected)


def test_a_weights_folder_has_averages_alone(tmp_path: Path) -> None:
    """Both G and its average begin as the average; without its critic D begins anew."""
    source = made("dcgan")
    source.config = {"data": {}, "metrics": {}, "seed": 1}
    for critic in (False, True):
        place = tmp_path / str(critic)
        folder.write(place, weights_of(source, {}, critic=critic), card="", pictures={})
        gan = made("dcgan", seed=2)
        before = of(gan, "D.")
        lines = begin_with(gan, str(place))
        average = {k.removeprefix("G_ema.module."): v for k, v in of(source, "G_ema.").items()}
        assert same({k.removeprefix("G."): v for k, v in of(gan, "G.").items()}, average)
        assert same({k.removeprefix("G_ema.module."): v for k, v in of(gan, "G_ema.").items()}, average)
        assert same(of(gan, "D."), of(source, "D.")) is critic
        assert same(of(gan, "D."), before) is not critic
        assert ("start: it has no D: anew" in lines) is not critic
        assert "start: G_ema begins as G" in lines


def test_a_model_without_averages_begins_as_the_average(saved: Callable[..., str]) -> None:
    source, gan = made("vanilla"), made("vanilla", "model.ema_half_life=null", seed=2)
    lines = begin_with(gan, saved(source))
    assert torch.equal(gan.G[0].weight, source.G_ema.module[0].weight)
    assert "start: G begins as the average G_ema, since it has none here" in lines


DIGITS = [str(k) for k in range(10)]


@pytest.mark.parametrize("condition", ["joined", "projection"])
def test_classes_are_carried_over_by_name(condition: str, saved: Callable[..., str]) -> None:
    settings = [f"model.condition={condition}"]
    source = made("cgan", *settings)
    gan = made("cgan", *settings, "model.classes=['9','10','8',a,b,c,d,e,f,g,h]", seed=2)
    lines = begin_with(gan, saved(source))
    assert any("by name: 9, 8; the mean of the start's: 10, a, b" in line for line in lines)
    assert lines[0].endswith("carried over are G whole, D whole")
    checked = 0
    own = dict(gan.named_parameters())
    for name, before in source.named_parameters():
        if own[name].shape == before.shape:
            assert torch.equal(own[name], before), name
            continue
        assert len(own[name]) == 11
        assert torch.equal(own[name][0], before[9])
        assert torch.equal(own[name][2], before[8])
        torch.testing.assert_close(own[name][1], before.mean(0))
        checked += 1
    assert checked >= 2


def test_classes_of_the_same_number_are_no_less_of_other_names(saved: Callable[..., str]) -> None:
    source = made("cgan")
    names = ",".join(f"'{k}'" for k in [*DIGITS[1:], "0"])
    gan = made("cgan", f"model.classes=[{names}]", seed=2)
    begin_with(gan, saved(source))
    assert torch.equal(gan.G.embed.table.weight, source.G.embed.table.weight.roll(-1, 0))


def test_attributes_are_carried_over_by_name(saved: Callable[..., str]) -> None:
    source, gan = made("cgan"), made("cgan")
    hparams = {**source.hparams, "classes": None}
    source = type(source)(**hparams | {"attributes": ["old", "smiling"]})
    gan = type(gan)(**hparams | {"attributes": ["smiling", "hat", "old"]})
    begin_with(gan, saved(source))
    old, new = source.G.embed.table, gan.G.embed.table
    assert torch.equal(new.weight[:, 0], old.weight[:, 1])
    assert torch.equal(new.weight[:, 2], old.weight[:, 0])
    torch.testing.assert_close(new.weight[:, 1], old.weight.mean(1))
    assert torch.equal(new.bias, old.bias)


@pytest.mark.slow
def test_a_styled_class_is_the_class_that_it_was(saved: Callable[..., str]) -> None:
    """Though an equalised layer scales its weights by the number of classes."""
    source = made("stylegan_lite", "model.conditional=true")
    names = ",".join(f"'{k}'" for k in ["new", *DIGITS])
    gan = made("stylegan_lite", "model.conditional=true", f"model.classes=[{names}]", seed=2)
    begin_with(gan, saved(source))
    z, y = torch.randn(3, 8), torch.tensor([0, 4, 9])
    torch.testing.assert_close(gan.G_ema.module.map(z, y + 1), source.G_ema.module.map(z, y))
    x = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(gan.D(x, y + 1), source.D(x, y))


@pytest.mark.parametrize("model", ["dcgan", "stylegan_lite"])
def test_grey_becomes_colour_and_back(model: str, saved: Callable[..., str]) -> None:
    """A grey image means to D what it did, and what G makes is grey at first."""
    source = made(model, "data.channels=1").eval()
    gan = made(model, "data.channels=3", seed=2).eval()
    lines = begin_with(gan, saved(source))
    assert any("fitted to the channels in G" in line for line in lines)
    assert "G whole" in lines[0]
    grey, latent = torch.rand(5, 1, 16, 16), torch.randn(4, gan.latent_dim)
    torch.testing.assert_close(gan.D(grey.expand(-1, 3, -1, -1)), source.D(grey), rtol=1e-3, atol=1e-4)
    settings = {"noise": "none"} if model == "stylegan_lite" else {}
    image, before = (g.G(latent, **settings) for g in (gan, source))
    image, before = (i[0] if isinstance(i, tuple) else i for i in (image, before))
    torch.testing.assert_close(image, before.expand(-1, 3, -1, -1))
    again = made(model, "data.channels=1", seed=3)
    begin_with(again, saved(gan))
    torch.testing.assert_close(of(again, "G."), of(source, "G."))
    torch.testing.assert_close(of(again, "D."), of(source, "D."))


def test_a_style_generator_grows(saved: Callable[..., str]) -> None:
    """Twice as large, it makes its images enlarged; D keeps the levels that it had, and loses its way in."""
    source, gan = made("stylegan_lite"), made("stylegan_lite", "data.image_size=32", seed=2)
    lines = begin_with(gan, saved(source))
    ws = torch.randn(2, gan.G.num_ws, 8)
    small = source.G_ema.module.synthesize(ws[:, : source.G.num_ws], "fixed")
    large = gan.G_ema.module.synthesize(ws, "fixed")
    from zoo.networks.style import up2

    torch.testing.assert_close(large, up2(small) + gan.G_ema.module.rgbs[-1].bias)
    for name, tensor in of(source, "D.blocks.").items():
        assert torch.equal(gan.state_dict()[name], tensor), name
    assert any("new in D" in line and "rgbs.3.weight" in line and "blocks.2" in line for line in lines)
    assert any("model.image_size 16 -> 32" in line for line in lines)
    begin_with(source, saved(gan))  # and shrinks
    assert torch.equal(source.G.convs[4].weight, gan.G.convs[4].weight)


def test_layers_of_another_resolution_are_those_of_their_width(saved: Callable[..., str]) -> None:
    source, gan = made("dcgan"), made("dcgan", "data.image_size=32", seed=2)
    lines = begin_with(gan, saved(source))
    for new, old in ((-2, -2), (-4, -4), (-5, -5)):  # counted from the image on
        assert same(gan.G[new].state_dict(), source.G[old].state_dict())
    assert torch.equal(gan.D[0].weight, source.D[0].weight)
    assert torch.equal(gan.D[2].weight, source.D[2].weight)
    assert any(line.startswith("start: new in G: 0.weight ([256, 100], was [128, 100])") for line in lines)


def test_translators_keep_what_they_can(saved: Callable[..., str]) -> None:
    source, gan = made("cyclegan"), made("cyclegan", "model.blocks=3", seed=2)
    begin_with(gan, saved(source))
    for name in ("G", "F"):
        new, old = getattr(gan, name), getattr(source, name)
        assert same(new[1].state_dict(), old[1].state_dict())
        assert same(new[-2].state_dict(), old[-2].state_dict())  # the end is the end
        assert same(new[10].state_dict(), old[10].state_dict())
        assert not same(new[11].state_dict(), old[10].state_dict())  # a new block is new
    assert not same(gan.G.state_dict(), gan.F.state_dict())
    source, gan = made("pix2pix"), made("pix2pix", "data.image_size=64", seed=2)
    begin_with(gan, saved(source))
    assert same(gan.G.ups[-1].state_dict(), source.G.ups[-1].state_dict())
    assert same(gan.G.downs[0].state_dict(), source.G.downs[0].state_dict())


def test_another_magnification_keeps_the_body(saved: Callable[..., str]) -> None:
    source, gan = made("srgan"), made("srgan", "data.scale=4", "model.skip=none", seed=2)
    lines = begin_with(gan, saved(source))
    for part in ("enter", "body"):
        assert same(of(gan, f"G.{part}"), of(source, f"G.{part}"))
    assert torch.equal(gan.G.leave[-1].weight, source.G.leave[-1].weight)
    assert same(of(gan, "D."), of(source, "D."))
    said = next(line for line in lines if "other settings" in line)
    assert "model.scale 2 -> 4" in said
    assert "model.skip bilinear -> none" in said  # which has no weights


@pytest.mark.parametrize(
    ("source", "model", "overrides", "message"),
    [
        ("vanilla", "dcgan", [], "is a VanillaGAN, and this run trains a DCGAN: give model=vanilla"),
        ("dcgan", "dcgan", ["model.width=8"], r"fits nothing of this model: .*model.width 4 -> 8"),
        ("dcgan", "dcgan", ["data.channels=3", "data.image_size=32", "model.freeze_d=9"], "at most 3"),
    ],
)
def test_what_fits_nothing_is_a_sentence(
    source: str, model: str, overrides: list[str], message: str, saved: Callable[..., str]
) -> None:
    with pytest.raises(ValueError, match=message):
        begin_with(made(model, *overrides), saved(made(source)))


def test_a_hostile_start_is_a_sentence_and_changes_nothing(saved: Callable[..., str], tmp_path: Path) -> None:
    source = made("vanilla")
    gan = made("vanilla", seed=2)
    before = of(gan, "")
    state = source.state_dict()

    class Malicious:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "run",))

    bad = {
        "no numbers": {"state_dict": {k: v / 0 if torch.is_tensor(v) else v for k, v in state.items()}},
        "could run code": {"state_dict": {**state, "x": Malicious()}},
        "another model": {"hyper_parameters": {**source.hparams, "hidden": [7, 7]}},
        "no variant": {"zoo": {**checkpoint_of_nothing()["zoo"], "variant": "os.system"}},
        "make no Vanilla": {"hyper_parameters": {**source.hparams, "hidden": "x"}},
    }
    for message, changes in bad.items():
        with pytest.raises(ValueError, match=rf"^start=.*{message}"):
            begin_with(gan, saved(source, **changes))
    with pytest.raises(ValueError, match=r"^start=nowhere: no checkpoint in nowhere"):
        begin_with(gan, "nowhere")
    (tmp_path / "a.onnx").touch()
    with pytest.raises(ValueError, match=r"a\.onnx is an exported file, .*: give the run"):
        begin_with(gan, str(tmp_path / "a.onnx"))
    assert not (tmp_path / "run").exists()
    assert same(of(gan, ""), before)


# In a run.


@pytest.mark.slow
def test_a_run_begins_with_it_and_goes_on_without(small: Small, tmp_path: Path, capsys: Any) -> None:
    first = small("vanilla", "max_images=32", f"run_dir={tmp_path / 'first'}")
    run(first)
    settings = [f"start={first.run_dir}", "max_images=96", "callbacks.checkpoints.every=48", "model.decay_end=96"]
    straight = small("vanilla", *settings, f"run_dir={tmp_path / 'straight'}")
    run(straight)
    out = capsys.readouterr().out
    assert out.count("carried over are") == 1
    broken = small("vanilla", *settings, f"run_dir={tmp_path / 'broken'}")
    broken.max_images = 48
    run(broken)
    for file in Path(first.run_dir, "checkpoints").iterdir():
        file.unlink()  # needed neither to go on nor to load
    broken.max_images, broken.resume = 96, "here"
    capsys.readouterr()
    run(broken)
    assert "carried over" not in capsys.readouterr().out
    one, two = (read(Path(cfg.run_dir, "checkpoints", "last.ckpt")) for cfg in (straight, broken))
    assert one["zoo"]["images"] == two["zoo"]["images"] == 96
    for part in ("state_dict", "optimizer_states"):
        assert same(one[part], two[part])
    assert isinstance(zoo.load(broken.run_dir), GAN)
    broken.start, broken.max_images = "elsewhere", 112
    with pytest.raises(ValueError, match="leave out start=elsewhere"):
        run(broken)


def test_a_setting_that_a_variant_had_is_passed_over(saved: Callable[..., str]) -> None:
    """SRGAN's own `start`, in checkpoints of that time."""
    source = made("srgan")
    settings = {**source.hparams, "start": "gone.ckpt"}
    path = saved(source, hyper_parameters=settings, **{"pytorch-lightning_version": "2.6.0"})
    loaded = built(content(Path(path)))
    assert "start" not in loaded.hparams
    assert same(loaded.G.state_dict(), source.G.state_dict())
    assert "start" not in type(source).load_from_checkpoint(path).hparams


# FreezeD.


@pytest.mark.parametrize("model", some_slow(["dcgan", "cyclegan", "stylegan_lite"], "dcgan"))
def test_frozen_layers_stay_and_others_move(model: str, small: Small, tmp_path: Path) -> None:
    """Within a run, and through its resumption."""
    first = small(model, "max_images=16", f"run_dir={tmp_path / 'first'}")
    source = run(first).lightning_module
    settings = [f"start={first.run_dir}/checkpoints/last.ckpt", "model.freeze_d=2", "max_images=32"]
    cfg = small(model, *settings, f"run_dir={tmp_path / 'second'}")
    gan = run(cfg).lightning_module
    for _ in range(2):
        for network, before in zip(gan.players()["D"], source.players()["D"], strict=True):  # type: ignore[union-attr, operator]
            layers, earlier = layers_from_image(network), layers_from_image(before)
            for k, (layer, old) in enumerate(zip(layers, earlier, strict=True)):
                for parameter, was in zip(layer, old, strict=True):
                    assert torch.equal(parameter, was) is (k < 2) or (k >= 2 and parameter.numel() < 5)
                    assert parameter.requires_grad is (k >= 2)
        cfg.max_images, cfg.resume = 48, "here"
        gan = run(cfg).lightning_module


def test_layers_are_counted_from_the_image_on() -> None:
    D = made("dcgan", "data.image_size=32").D
    layers = [[p.shape for p in layer] for layer in layers_from_image(D)]
    assert [len(layer) for layer in layers] == [2, 3, 3, 2]  # a bias; BatchNorm's scale and shift
    assert layers[0][0] == (4, 1, 4, 4)
    spectral = made("dcgan", "model.discriminator_norm=spectral").D
    assert [len(layer) for layer in layers_from_image(spectral)] == [2, 2, 2]
    style = made("stylegan_lite").D
    own = {id(p): name for name, p in style.named_parameters()}
    named = [{own[id(p)].split(".weight")[0].split(".bias")[0] for p in layer} for layer in layers_from_image(style)]
    assert named[0] == {"rgbs.2", "blocks.1.conv", "blocks.1.down", "blocks.1.skip"}
    assert named[1:] == [{"blocks.0.conv", "blocks.0.down", "blocks.0.skip"}, {"conv"}, {"dense"}, {"judge"}]
    assert sum(map(len, named)) == len({own[id(p)].rpartition(".")[0] for p in style.parameters()})


def test_what_has_learnt_nothing_is_not_held(saved: Callable[..., str], tmp_path: Path) -> None:
    source = made("dcgan")
    source.config = {"data": {}, "metrics": {}, "seed": 1}
    folder.write(tmp_path / "w", weights_of(source, {}), card="", pictures={})
    with pytest.raises(ValueError, match=r"model\.freeze_d=1 would hold .*w has no D"):
        begin_with(made("dcgan", "model.freeze_d=1"), str(tmp_path / "w"))
    with pytest.raises(ValueError, match=r"has nothing that fits D\.rgbs\.3\.weight"):
        begin_with(made("stylegan_lite", "data.image_size=32", "model.freeze_d=1"), saved(made("stylegan_lite")))


def test_a_penalty_reaches_through_frozen_layers(saved: Callable[..., str]) -> None:
    gan = made("dcgan", "model.freeze_d=1", "model.discriminator_norm=none")
    gan.hold_layers()
    x = torch.rand(2, 1, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(F.softplus(gan.D(x)).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert gan.D[0].weight.grad is None
    assert gan.D[2].weight.grad.abs().sum() > 0
