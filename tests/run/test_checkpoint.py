"""Checkpoints: whole or not at all, found, and read without running code."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common import EVERY, SMALL, checkpoint_of_nothing, make, same
from omegaconf import DictConfig
from typer.testing import CliRunner

import zoo
from train import run
from zoo.cli import app
from zoo.game.gan import GAN
from zoo.model.dcgan import DCGAN
from zoo.model.vanilla import VanillaGAN
from zoo.run.checkpoint import WholeCheckpointIO, built, newest, read
from zoo.run.command import command_line, readable_errors
from zoo.weights.folder import Weights
from zoo.weights.names import find

Write = Callable[[dict[str, Any]], Path]


class Malicious:
    def __reduce__(self) -> Any:
        return os.system, ("touch malice-was-here",)


CONTENT: dict[str, Any] = {"zoo": {"images": 5}, "weights": torch.arange(1000.0)}


def test_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "last.ckpt"
    WholeCheckpointIO().save_checkpoint(CONTENT, path)
    assert same(read(path), CONTENT)
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_a_failed_save_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpointIO().save_checkpoint(CONTENT, path)

    def full(content: object, file: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        WholeCheckpointIO().save_checkpoint({"zoo": {}}, path)
    assert same(read(path), CONTENT)
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_find(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"no checkpoint in .*best\.ckpt"):
        find(tmp_path)
    (folder / "last.ckpt").touch()
    assert find(tmp_path) == folder / "last.ckpt"
    (folder / "best.ckpt").touch()
    assert find(tmp_path) == folder / "best.ckpt"
    assert find(folder / "last.ckpt") == folder / "last.ckpt"


def test_truncated_and_foreign_files_are_named_with_the_alternative(tmp_path: Path) -> None:
    WholeCheckpointIO().save_checkpoint(CONTENT, tmp_path / "best.ckpt")
    data = (tmp_path / "best.ckpt").read_bytes()
    for name, content in {"last.ckpt": data[: len(data) // 2], "empty.ckpt": b"", "text.ckpt": b"hello"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} .*best\.ckpt is another checkpoint"):
            read(tmp_path / name)
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="no checkpoint of this zoo"):
        read(tmp_path / "other.ckpt")


@pytest.mark.slow
def test_load_and_sample(small: Callable[..., DictConfig]) -> None:
    cfg = small("dcgan")
    trainer = run(cfg)
    images = zoo.load(cfg.run_dir).sample(5)
    assert images.shape == (5, 1, 16, 16)
    torch.testing.assert_close(images, trainer.lightning_module.sample(5), rtol=0, atol=1e-5)  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/last.ckpt", "https://127.0.0.1:9/last.ckpt", "s3://bucket/a.ckpt"])
def test_nothing_is_fetched_to_be_unpickled(url: str) -> None:
    """Lightning's own loader fetches a URL and unpickles whatever comes."""
    with pytest.raises(ValueError, match="no checkpoint in"):
        zoo.load(url)
    with pytest.raises(ValueError, match="is no run's folder"):
        command_line([f"resume={url}"])
    with pytest.raises(ValueError, match="can't be read"):
        WholeCheckpointIO().load_checkpoint(url)


def test_a_device_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="device=gpu is no device: use cpu, cuda, cuda:1 or mps"):
        zoo.load(tmp_path, device="gpu")


def test_a_truncated_last_checkpoint_gives_way_to_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    WholeCheckpointIO().save_checkpoint(checkpoint_of_nothing(), tmp_path / "checkpoints" / "best.ckpt")
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"PK half")
    assert newest(tmp_path).name == "best.ckpt"
    assert "last.ckpt can't be read" in capsys.readouterr().out
    assert newest(tmp_path / "checkpoints" / "best.ckpt").name == "best.ckpt"


@pytest.mark.slow
def test_lightning_s_way_to_load_names_the_better_one(small: Callable[..., DictConfig], tmp_path: Path) -> None:
    cfg = small("vanilla", "max_images=32")
    run(cfg)
    path = Path(cfg.run_dir, "checkpoints", "last.ckpt")
    loaded = VanillaGAN.load_from_checkpoint(path, map_location="cpu")
    assert same(loaded.state_dict(), zoo.load(path).state_dict())
    with pytest.raises(ValueError, match=r"is of zoo\.model\.vanilla\.VanillaGAN, not of .*DCGAN: zoo\.load\(FILE\)"):
        DCGAN.load_from_checkpoint(path)
    with pytest.raises(ValueError, match=r"not of zoo\.game\.gan\.GAN: zoo\.load\(FILE\)"):
        GAN.load_from_checkpoint(str(path))
    for wrong in ({"hidden": [3]}, {"depth": 3}):
        with pytest.raises(ValueError, match=r"does not fit .*zoo\.load\(FILE\)"):
            VanillaGAN.load_from_checkpoint(path, **wrong)


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_lightning_s_way_to_load_refuses_what_is_no_checkpoint(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.ckpt can't be read"):
        VanillaGAN.load_from_checkpoint(tmp_path / "x.ckpt")


def test_lightning_s_way_to_load_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from a file, whatever is asked for or set, and nothing is fetched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"zoo": Malicious()}, "x.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt is refused"):
        VanillaGAN.load_from_checkpoint("x.ckpt")
    with pytest.raises(ValueError, match="weights_only=False would run code"):
        VanillaGAN.load_from_checkpoint("x.ckpt", weights_only=False)
    with pytest.raises(ValueError, match="is an address"):
        VanillaGAN.load_from_checkpoint("https://127.0.0.1:9/x.ckpt")
    assert not Path("malice-was-here").exists()


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("state_dict", {"G.net.0.weight": torch.tensor([float("nan")])}, "weights that are no numbers"),
        ("state_dict", None, "its state_dict are missing"),
        ("hyper_parameters", [1], "its hyper_parameters are missing"),
        ("hyper_parameters", {"_instantiator": "os.mkdir"}, "is refused: its hyper_parameters have '_instantiator'"),
        ("pytorch-lightning_version", "x", "does not fit"),
    ],
)
def test_lightning_s_way_to_load_says_what_is_damaged(
    part: str, value: Any, said: str, content: dict[str, Any], file: Write
) -> None:
    """And never quotes what Lightning advises, which is to switch its protection off."""
    content[part] = value
    with pytest.raises(ValueError, match=r"a\.ckpt ") as why:
        VanillaGAN.load_from_checkpoint(file(content))
    assert said in str(why.value)
    assert "trust" not in str(why.value)


@pytest.mark.parametrize("command", [["sample", "-n", "2"], ["sample", "-n", "2", "-o", "files"]])
def test_weights_that_draw_no_numbers_draw_no_black_pictures(
    command: list[str], content: dict[str, Any], file: Write
) -> None:
    """Each of them is finite, and their products are not."""
    for name, weight in content["state_dict"].items():
        if name.startswith("G") and isinstance(weight, torch.Tensor) and weight.is_floating_point():
            content["state_dict"][name] = torch.full_like(weight, 1e38)
    path = file(content)
    with pytest.raises(ValueError, match="makes images that are no numbers"):
        CliRunner().invoke(app, [command[0], str(path), *command[1:]], catch_exceptions=False)
    with pytest.raises(ValueError, match="makes images that are no numbers"):
        zoo.load(path).sample(2)
    assert sorted(os.listdir()) == ["a.ckpt"]


def without(content: dict[str, Any], *path: str) -> None:
    for name in path[:-1]:
        content = content[name]
    del content[path[-1]]


def put(content: Any, value: Any, *path: Any) -> None:
    for name in path[:-1]:
        content = content[name]
    content[path[-1]] = value


D = "D.1.weight"
DAMAGED: dict[str, tuple[Callable[[Any], object], str]] = {
    "no weights": (lambda c: without(c, "state_dict"), "it has no state_dict"),
    "no hyperparameters": (lambda c: without(c, "hyper_parameters"), "it has no hyper_parameters"),
    "no variant": (lambda c: without(c, "zoo", "variant"), "it has no variant"),
    "no images": (lambda c: without(c, "zoo", "images"), "it has no images"),
    "no config": (lambda c: without(c, "zoo", "config"), "it has no config"),
    "a config that is a list": (lambda c: put(c, [], "zoo", "config"), "its config is a list"),
    "zoo is a number": (lambda c: put(c, 3, "zoo"), "no checkpoint of this zoo"),
    "negative time": (lambda c: put(c, -1, "zoo", "images"), "its images is -1"),
    "endless time": (lambda c: put(c, 10**400, "zoo", "images"), "its images is a number of many digits"),
    "time in text": (lambda c: put(c, "9", "zoo", "images"), "its images is '9', not a int"),
    "a weight that is text": (lambda c: put(c, "x", "state_dict", D), "which is no tensor"),
    "a sparse weight": (lambda c: put(c, torch.zeros(32, 64).to_sparse(), "state_dict", D), "which is no tensor"),
    "one number repeated": (lambda c: put(c, torch.zeros(1).expand(32, 64), "state_dict", D), "which is no tensor"),
    "no memory": (lambda c: put(c, torch.empty(32, 64, device="meta"), "state_dict", D), "which is no tensor"),
    "another shape": (lambda c: put(c, torch.zeros(64, 32), "state_dict", D), f"{D} is [64, 32], not [32, 64]"),
    "whole numbers": (lambda c: put(c, torch.zeros(32, 64).int(), "state_dict", D), "[32, 64] integer, not [32, 64]"),
    "a weight too few": (lambda c: without(c, "state_dict", D), f"{D} is in the other alone"),
    "a weight too many": (lambda c: put(c, torch.zeros(1), "state_dict", "E.0"), "E.0 is in one alone"),
    "an average's images": (lambda c: put(c, "many", "state_dict", "G_ema._extra_state"), "'many', not a int"),
    "an unknown hyperparameter": (lambda c: put(c, 3, "hyper_parameters", "widht"), "make no VanillaGAN"),
    "a hyperparameter too few": (lambda c: without(c, "hyper_parameters", "hidden"), "make no VanillaGAN"),
    "hyperparameters as a list": (lambda c: put(c, [1], "hyper_parameters"), "is a list, not a dict"),
    "a hyperparameter that is text": (lambda c: put(c, "x", "hyper_parameters", "hidden"), "make no VanillaGAN"),
    "a tensor as hyperparameter": (lambda c: put(c, torch.ones(1), "hyper_parameters", "hidden"), "is a Tensor"),
    "400 GB": (lambda c: put(c, [10**11, 16], "hyper_parameters", "hidden"), "of another model than its hyperp"),
    "endless layers": (lambda c: put(c, [8] * 10**5, "hyper_parameters", "hidden"), "far more layers than there are"),
    "an impossible size": (lambda c: put(c, 10**30, "hyper_parameters", "latent_dim"), "is too large a number"),
    "rates of nobody": (lambda c: put(c, {"D": "x"}, "hyper_parameters", "lr"), "make no VanillaGAN"),
    "NaN": (
        lambda c: c["state_dict"][D][3].fill_(float("nan")),
        f"weights that are no numbers (NaN or infinite), '{D}'",
    ),
    "infinite": (
        lambda c: c["state_dict"]["G_ema.module.0.weight"].fill_(float("inf")),
        "'G_ema.module.0.weight' first",
    ),
}


@pytest.mark.parametrize("form", DAMAGED)
def test_damaged_content_is_a_sentence(form: str, content: dict[str, Any], file: Write) -> None:
    """One that names the file, from every command that draws, before memory is taken."""
    damage, sentence = DAMAGED[form]
    damage(content)
    path = file(content)
    for command in (["sample", str(path), "-n", "1"], ["evaluate", str(path)]):
        with pytest.raises(ValueError, match=r"a\.ckpt (is|has) ") as why:
            CliRunner().invoke(app, command, catch_exceptions=False)
        assert sentence in str(why.value)
        assert len(str(why.value).splitlines()) == 1
    assert os.listdir() == ["a.ckpt"]


OF_A_RUN: dict[str, tuple[Callable[[Any], object], str]] = {
    "no optimizers": (lambda c: without(c, "optimizer_states"), "it has no optimizer_states"),
    "an optimizer too few": (lambda c: c["optimizer_states"].pop(), "1 optimizers' states, and the players are D, G"),
    "optimizers of text": (lambda c: put(c, ["x", "y"], "optimizer_states"), "it has no state"),
    "a moment of another shape": (
        lambda c: put(c, torch.zeros(3), "optimizer_states", 0, "state", 0, "exp_avg"),
        "D's optimizer: exp_avg of parameter 0",
    ),
    "a moment that is no number": (
        lambda c: c["optimizer_states"][1]["state"][0]["exp_avg_sq"].fill_(float("nan")),
        "G's optimizer: exp_avg_sq of parameter 0",
    ),
    "a moment too few": (lambda c: without(c, "optimizer_states", 0, "state", 0, "exp_avg"), "keeps something else"),
    "a parameter that there is not": (
        lambda c: put(c, c["optimizer_states"][0]["state"][0], "optimizer_states", 0, "state", 99),
        "keeps something else for 99",
    ),
    "groups of others": (lambda c: put(c, [7], "optimizer_states", 0, "param_groups", 0, "params"), "is not one of"),
    "no ranks": (lambda c: without(c, "zoo", "ranks"), "it has no ranks"),
    "ranks of numbers": (lambda c: put(c, [1], "zoo", "ranks"), "its ranks"),
    "a callback without its state": (
        lambda c: put(c, {}, "callbacks", _of(c, "Evaluate")),
        "has no history",
    ),
    "a rank without states": (lambda c: put(c, [{}], "zoo", "ranks"), "damaged"),
    "a damaged random state": (lambda c: put(c, torch.zeros(5), "zoo", "ranks", 0, "torch"), "damaged"),
    "turns of text": (lambda c: put(c, {"D": "x"}, "zoo", "turns"), "its D is 'x'"),
    "a factor of nothing": (lambda c: put(c, 0.0, "zoo", "lr_factor"), "its lr_factor is 0.0"),
    "values of text": (lambda c: put(c, {"fid": "x"}, "zoo", "latest"), "'fid' is 'x'"),
    "no loops": (lambda c: without(c, "loops"), "it has no loops"),
    "a negative count": (
        lambda c: put(c, -5, "loops", "fit_loop", "epoch_progress", "current", "processed"),
        "epoch_progress.current.processed is -5",
    ),
    "loops of others": (lambda c: put(c, {"x": {}}, "loops", "fit_loop"), "its fit_loop has no"),
    "callbacks as a list": (lambda c: put(c, [], "callbacks"), "its callbacks is a list"),
    "a callback's state of text": (lambda c: put(c, "x", "callbacks", _of(c, "Evaluate")), "is 'x', not a dict"),
    "another history": (lambda c: put(c, 3, "callbacks", _of(c, "Evaluate"), "history"), "history is 3, not a list"),
    "a position of text": (lambda c: put(c, {"shown": "x"}, "Digits"), "its Digits.shown is 'x'"),
    "a position before the first image": (lambda c: c["Digits"].update(shown=-5), "its shown is -5"),
    "no rates": (lambda c: put(c, None, "zoo", "rates"), "its rates is None"),
    "rates of text": (lambda c: put(c, {"D": "x", "G": 1.0}, "zoo", "rates"), "its rates are not one of each player"),
    "rates of others": (lambda c: put(c, {"Z": 1.0}, "zoo", "rates"), "its rates are not one of each player: D, G"),
    "rows without the value that chooses": (
        lambda c: put(c, [{"images": 16}], "callbacks", _of(c, "Evaluate"), "history"),
        "evaluations without the value that chooses the best",
    ),
    "a first row that there is not": (
        lambda c: put(c, 999, "callbacks", _of(c, "Evaluate"), "first"),
        "evaluations without the value that chooses the best",
    ),
    "a version of nothing": (lambda c: put(c, "x", "pytorch-lightning_version"), "damaged"),
    "NaN": (lambda c: c["state_dict"][D].fill_(float("nan")), "no numbers"),
    "400 GB": (lambda c: put(c, torch.zeros(2), "state_dict", D), "of another model than these settings make"),
}


def _of(content: dict[str, Any], callback: str) -> str:
    return next(name for name in content["callbacks"] if name.startswith(callback))


@pytest.mark.parametrize("form", OF_A_RUN)
def test_a_run_does_not_go_on_from_damaged_states(
    form: str, content: dict[str, Any], small: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = small("vanilla", "max_images=64", "metrics=mnist", "metrics.num_fake=50", "logger=none", "resume=here")
    damage, sentence = OF_A_RUN[form]
    damage(content)
    WholeCheckpointIO().save_checkpoint(content, Path(cfg.run_dir, "checkpoints", "last.ckpt"))
    with pytest.raises(SystemExit) as left, readable_errors():
        run(cfg)
    assert left.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("train.py: ")
    assert "last.ckpt" in said
    assert sentence in said


@pytest.mark.slow
def test_the_undamaged_run_goes_on(content: dict[str, Any], small: Callable[..., DictConfig], tmp_path: Path) -> None:
    """Into its own folder: where a callback writes, which it does not remember, is no file's to say."""
    cfg = small("vanilla", "max_images=64", "metrics=mnist", "metrics.num_fake=50", "logger=none", "resume=here")
    content["callbacks"][_of(content, "Evaluate")]["path"] = str(tmp_path / "elsewhere" / "best.ckpt")
    WholeCheckpointIO().save_checkpoint(content, Path(cfg.run_dir, "checkpoints", "last.ckpt"))
    assert run(cfg).lightning_module.images == 64  # type: ignore[union-attr]
    assert not (tmp_path / "elsewhere").exists()


def weights_of(model: Any) -> Weights:
    variant = f"{type(model).__module__}.{type(model).__qualname__}"
    tensors, hyperparameters = dict(model.state_dict()), dict(model.hparams)
    return Weights(variant=variant, hyperparameters=hyperparameters, tensors=tensors, images=0, config={}, whole=True)


@pytest.mark.parametrize("model", EVERY)
def test_every_variant_is_made_without_memory_first(model: str) -> None:
    """With whatever its networks are made of; and as it is."""
    made = make(model, *SMALL.get(model, []))
    content = weights_of(made)
    assert same(built(content).state_dict(), made.state_dict())
    content.tensors.popitem()
    with pytest.raises(ValueError, match="of another model"):
        built(content)


@pytest.mark.parametrize("settings", [["augment=ada"], ["regularizer=r1"], ["model.discriminator_norm=spectral"]])
def test_settings_that_add_layers_are_made_without_memory_too(settings: list[str]) -> None:
    made = make("dcgan", *SMALL["dcgan"], *settings)
    content = weights_of(made)
    assert same(built(content).state_dict(), made.state_dict())
