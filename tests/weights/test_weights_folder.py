"""A weights folder may be a stranger's: whatever it holds, it is a model of this zoo or one sentence."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common import small_disk, untrained
from safetensors.torch import load_file, save_file

import zoo
from zoo.use.publish import weights_of
from zoo.weights import folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("weights") / "w"
    folder.write(place, weights_of(untrained("vanilla"), {}), card="a card", pictures={})
    return place


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    (tmp_path / "w").mkdir()
    for path in whole.iterdir():
        (tmp_path / "w" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "w"


def refused(place: Path) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        zoo.load(place)
    said = str(error.value)
    assert str(place) in said
    assert said.isprintable()
    assert len(said) < 600
    return said


def changed(place: Path, change: Callable[[Any], Any]) -> None:
    path = place / folder.CONFIG
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


CONFIGS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "code": (lambda c: c.update(variant="os.system"), "no variant of this zoo"),
    "base": (lambda c: c.update(variant="zoo.game.gan.GAN"), "no variant of this zoo"),
    "module": (lambda c: c.update(variant="zoo.model.vanilla.torch"), "no variant of this zoo"),
    "no such": (lambda c: c.update(variant="zoo.model.diffusion.Diffusion"), "no variant of this zoo"),
    "target": (lambda c: c["config"]["data"].update(_target_="os.system"), "could run any code"),
    "deep target": (lambda c: c["config"]["data"].update(x={"_target_": "os.system"}), "could run any code"),
    "call": (lambda c: c["config"]["data"].update(_args_=["ls"]), "could run any code"),
    "looked up": (lambda c: c["config"]["data"].update(cache_dir="${oc.env:HOME}"), "would be looked up"),
    "no data": (lambda c: c["config"].pop("data"), "no data"),
    "no seed": (lambda c: c["config"].pop("seed"), "no seed"),
    "huge": (lambda c: c["hyperparameters"].update(hidden=[2**40, 2**40]), "make no Vanilla"),
    "larger": (lambda c: c["hyperparameters"].update(hidden=[10**400]), "too large a number"),
    "many layers": (lambda c: c["hyperparameters"].update(hidden=[4] * 5_000), "far more layers"),
    "other": (lambda c: c["hyperparameters"].update(hidden=[16, 33]), "another model than its hyperparameters"),
    "typo": (lambda c: c["hyperparameters"].update(os="x"), "make no Vanilla"),
    "text": (lambda c: c["hyperparameters"].update(image_size="x" * 10_000), "make no Vanilla"),
    "control": (lambda c: c["hyperparameters"].update(latent_dim="\x1b[2J"), "make no Vanilla"),
    "target of a hyperparameter": (lambda c: c["hyperparameters"].update(loss={"_target_": "os.system"}), "make no"),
    "images": (lambda c: c.update(images=-1), "no number of images"),
    "many images": (lambda c: c.update(images=2**60), "no number of images"),
    "no images": (lambda c: c.update(images=True), "its images is no int"),
    "a list": (lambda c: c.update(hyperparameters=[1]), "its hyperparameters is no dict"),
    "format": (lambda c: c.update(format="\x1b[2J" * 3), "update gan-zoo"),
    "library": (lambda c: c.update(library="timm"), "of another library"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_config_is_one_sentence(name: str, place: Path) -> None:
    change, words = CONFIGS[name]
    changed(place, change)
    assert words in refused(place)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, '{"a": NaN}', '{"library": "gan-zoo", "format": 1}', "\xff", " " * 4_000_001]
)
def test_a_damaged_config_is_one_sentence(text: str, place: Path) -> None:
    (place / folder.CONFIG).write_bytes(text.encode("latin-1"))
    assert folder.CONFIG in refused(place)


def test_truncated_numbers(place: Path) -> None:
    path = place / folder.TENSORS
    content = path.read_bytes()
    for length in (0, 4, 8, 100, len(content) - 1):
        path.write_bytes(content[:length])
        assert "is damaged" in refused(place)
    path.write_bytes(struct.pack("<Q", 2**62) + content[8:])
    assert "is damaged" in refused(place)
    header = json.dumps({"G.x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    assert "is damaged" in refused(place)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_numbers_of_other_precision_become_float32(dtype: torch.dtype, place: Path) -> None:
    tensors = load_file(place / folder.TENSORS)
    save_file(
        {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}, place / folder.TENSORS
    )
    model: Any = zoo.load(place)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.sample(2).isfinite().all()


def test_numbers_of_another_kind_or_shape_are_refused(place: Path) -> None:
    tensors = load_file(place / folder.TENSORS)
    name = next(name for name, tensor in tensors.items() if tensor.dim() == 2)
    wrong = [tensors[name].long(), tensors[name].to(torch.complex64), tensors[name].T.contiguous(), tensors[name] / 0]
    for tensor in wrong:
        save_file(tensors | {name: tensor}, place / folder.TENSORS)
        assert name in refused(place)
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, place / folder.TENSORS)
    assert name in refused(place)
    save_file(tensors | {"G.\x1b[2J": tensors[name].clone()}, place / folder.TENSORS)
    refused(place)


def test_the_card_is_never_read(place: Path) -> None:
    (place / folder.CARD).unlink()
    (place / folder.CARD).mkdir()
    zoo.load(place)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    weights = weights_of(untrained("vanilla"), {})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("more")
    for name in ("mine", "file"):
        with pytest.raises(ValueError, match=r"is there already, and not empty: give a new folder, or remove it"):
            folder.write(tmp_path / name, weights, card="", pictures={})
    with pytest.raises(ValueError, match=r"can't be written .*: give another place, -o FOLDER"):
        folder.write(tmp_path / "file" / "w", weights, card="", pictures={})
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "mine", "thesis.txt"]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    weights = weights_of(untrained("vanilla"), {})
    with small_disk(tmp_path / "disk") as fill:
        fill()
        with pytest.raises(ValueError, match=r"can't be written .*: give another place"):
            folder.write(tmp_path / "disk" / "w", weights, card="x" * 100_000, pictures={})
        assert not [path for path in (tmp_path / "disk").iterdir() if path.name != "filling"]
