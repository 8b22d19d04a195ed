"""A model as a file for elsewhere: the same images by onnxruntime, torch.export and TorchScript alone; and such a file
as a model again."""

import ast
import errno
import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common import MODELS, ROOT, SMALL, make, needs
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from zoo.batch import to_unit
from zoo.cli import app
from zoo.game.abilities import (
    ABILITIES,
    FromLatents,
    OfAttributes,
    OfClasses,
    Translates,
    Truncates,
    Upscales,
    labels_of,
)
from zoo.networks.translators import InstanceNorm, at_any_size
from zoo.use import export as room
from zoo.use import exported
from zoo.use.export import CARD, FORMATS, Drawing, Report, check_target, export, speed
from zoo.use.sample import draw
from zoo.use.translate import translator
from zoo.use.upscale import enlarge_file

onnx, onnxruntime, _ = (needs(name) for name in ("onnx", "onnxruntime", "onnxscript"))
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper


class Painter(nn.Module, FromLatents, OfClasses, Truncates):
    """The least that makes images of latents and of classes, and truncates."""

    latent_dim, truncation, images, device, classes = 5, 0.7, 3, torch.device("cpu"), list("abc")

    def __init__(self) -> None:
        super().__init__()
        self.G, self.D = nn.Linear(5, 2 * 8 * 6), nn.Linear(10_000, 10)
        self.table = nn.Embedding(3, 5)
        self.register_buffer("w_mean", torch.zeros(5))

    def truncated(self, z: Tensor, labels: Tensor | None, psi: float | Tensor) -> Tensor:
        assert labels is not None
        w = torch.lerp(self.w_mean, z + self.table(labels), psi)  # type: ignore[arg-type]
        return self.G(w).tanh().unflatten(1, (2, 8, 6))

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.truncated(z, labels, 1.0)

    def generate(self, seeds: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.truncated(self.latent_of(seeds), labels_of(self, seeds, labels), self.truncation)


class Portraitist(nn.Module, FromLatents, OfAttributes):
    """The least that makes images of attributes."""

    latent_dim, images, device, attributes = 2, 3, torch.device("cpu"), ["Smiling", "Male"]

    def __init__(self) -> None:
        super().__init__()
        self.G = nn.Linear(2, 16)

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.G(z + labels).tanh().unflatten(1, (1, 4, 4))


class Translator(nn.Module, Translates):
    """The least that translates, from one channel to two, as the variants do: any size, normalised image by image."""

    images, device, directions = 3, torch.device("cpu"), {"X->Y": 1}

    def __init__(self) -> None:
        super().__init__()
        first, up = nn.Conv2d(1, 4, 4, stride=2, padding=1), nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1)
        inner = [nn.Conv2d(4, 4, 4, stride=2, padding=1), InstanceNorm(), nn.ConvTranspose2d(4, 4, 4, 2, 1)]
        self.G = nn.Sequential(first, InstanceNorm(), nn.ReLU(), *inner, InstanceNorm(), nn.ReLU(), up, nn.Tanh())

    @torch.no_grad()
    def translate(self, images: Tensor, direction: str = "X->Y", tile: int | None = None) -> Tensor:
        return at_any_size(self.G, images, 4)


QUICK: dict[str, Callable[[], Any]] = {
    "drawing": lambda: make("vanilla", "data=digits", "data.image_size=[8,6]", "data.channels=4", "model.hidden=[16]"),
    "classes": Painter,
    "attributes": Portraitist,
    "translation": Translator,
    "enlargement": lambda: make("srgan", *SMALL["srgan"], "model.blocks=0", "data.scale=3", "data.patch_size=24"),
    "folding": lambda: make(
        "srgan", *SMALL["srgan"], "model.blocks=0", "data.scale=2", "model.network=rrdb", "model.unshuffle=2"
    ),
}


def unlike_new(model: Any) -> Any:
    """A model in evaluation mode whose statistics, noise and mean are not those of a new one, and which lies in memory
    as training leaves it; with the settings of a run."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in [*model.named_buffers(), *model.named_parameters()]:
            if tensor.is_floating_point() and ("running" in name or "w_mean" in name or "noise_strength" in name):
                tensor += torch.rand(tensor.shape, generator=generator)
    model.config = {"data": {"background": "black", "root": "/home/somebody/secret", "range": None}, "seed": 1}
    return model.to(memory_format=torch.channels_last).eval()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path, Report]]:
    """A model of QUICK, its .onnx file, and what came of writing it."""
    done: dict[str, tuple[Any, Path, Report]] = {}

    def write(name: str) -> tuple[Any, Path, Report]:
        if name not in done:
            torch.manual_seed(0)
            model, path = unlike_new(QUICK[name]()), tmp_path_factory.mktemp(name) / "a.onnx"
            done[name] = model, path, export(model, path)
        return done[name]

    return write


def by_onnxruntime(path: Path, **inputs: Any) -> Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {name: np.asarray(value) for name, value in inputs.items()})
    return torch.from_numpy(output)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


# Files that others run ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_latents_of_any_number(written: Any) -> None:
    model, path, report = written("drawing")
    assert report.difference < 1e-6
    for n in (1, 2, 7):
        z = model.latent_of(range(n))
        close(by_onnxruntime(path, latents=z), model.sample(n))


@pytest.mark.slow
def test_classes_and_truncation_are_inputs(written: Any) -> None:
    model, path, _ = written("classes")
    z, labels = model.latent_of(range(5)), torch.tensor([2, 0, 1, 1, 0])
    file = lambda psi: by_onnxruntime(path, latents=z, labels=labels, truncation=np.float32(psi))
    close(file(0.7), model.sample(5, labels=labels.tolist()))  # as configured
    close(file(1), to_unit(model.from_latents(z, labels).detach()))
    assert (file(0)[0] - file(0)[3]).abs().max() < 1e-6
    assert (file(0.7) - file(1)).abs().max() > 1e-3


@pytest.mark.slow
def test_attributes_are_inputs(written: Any) -> None:
    model, path, _ = written("attributes")
    vectors = [[0.5, 1], [0, 0], [-1, 2]]
    images = by_onnxruntime(path, latents=model.latent_of(range(3)), attributes=np.array(vectors, np.float32))
    close(images, model.sample(3, labels=vectors))
    again = exported.load(path)
    assert abilities(again) == {"FromLatents", "OfAttributes"}
    assert again.attributes == ["Smiling", "Male"]
    close(draw(again, range(3), vectors[0]), draw(model, range(3), vectors[0]))
    with pytest.raises(ValueError, match="makes images of attributes: give one for each image"):
        again.sample(2)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 16, 16), (3, 17, 30), (2, 8, 64), (1, 1, 1), (1, 5, 40)])
def test_images_of_any_size(written: Any, size: tuple[int, int, int]) -> None:
    n, height, width = size
    images = torch.rand(n, 3, height, width)
    model, path, _ = written("translation")
    grey = images[:, :1]
    close(by_onnxruntime(path, images=grey), to_unit(model.translate(grey * 2 - 1)))
    model, path, _ = written("enlargement")
    with torch.no_grad():
        close(by_onnxruntime(path, images=images), to_unit(model.upscale(images * 2 - 1)))


@pytest.mark.slow
def test_a_uniform_image_stays_one(written: Any) -> None:
    """Instance normalisation divides rounding errors by nothing but its epsilon, layer after layer."""
    model, path, _ = written("translation")
    for level in (0.0, 0.123, 1.0):
        images = torch.full((1, 1, 32, 40), level)
        close(by_onnxruntime(path, images=images), to_unit(model.translate(images * 2 - 1)))


@pytest.mark.slow
def test_the_file_says_what_it_is(written: Any) -> None:
    for name, inputs, output in (
        ("drawing", {"latents": ["batch", 100]}, ("images", ["batch", 4, 8, 6])),
        ("classes", {"latents": ["batch", 5], "labels": ["batch"], "truncation": []}, ("images", ["batch", 2, 8, 6])),
        ("translation", {"images": ["batch", 1, "height", "width"]}, ("translated", ["batch", 2, "height", "width"])),
        ("enlargement", {"images": ["batch", 3, "height", "width"]}, ("enlarged", ["batch", 3, "3*height", "3*width"])),
    ):
        model, path, report = written(name)
        onnx.checker.check_model(str(path), full_check=True)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert {value.name: value.shape for value in session.get_inputs()} == inputs
        assert [(value.name, value.shape) for value in session.get_outputs()] == [output]
        proto = onnx.load(str(path))
        card = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
        assert card == report.card
        assert card["variant"] == type(model).__name__
        assert {key: value["shape"] for key, value in card["inputs"].items()} == inputs
        assert card["outputs"][output[0]]["range"] == [0, 1]
        assert card["data"] == {"background": "black"}
        assert len(proto.SerializeToString()) < 4 * sum(v.numel() for v in model.G.parameters()) + 150_000  # no D
    assert written("classes")[2].card["classes"] == list("abc")


@pytest.mark.parametrize("suffix", [".pt2", ".pt", ".torchscript"])
def test_files_of_torch(suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, path = unlike_new(QUICK["classes"]()), tmp_path / f"a{suffix}"
    report = export(model, path)
    said: dict[str, Any] = {CARD: ""}
    if suffix == ".pt2":
        module: Any = torch.export.load(path, extra_files=said).module()
    else:
        module = torch.jit.load(path, _extra_files=said)
    assert json.loads(said[CARD]) == report.card
    for labels in ([1], [2, 0, 1, 1]):
        z, psi = model.latent_of(range(len(labels))), torch.tensor(0.7)
        with torch.no_grad():
            close(module(z, torch.tensor(labels), psi), model.sample(len(labels), labels=labels))
    assert report.size == path.stat().st_size


def test_torchscript_of_any_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for name in ("translation", "enlargement"):
        model = unlike_new(QUICK[name]())
        export(model, tmp_path / "a.pt")
        module = torch.jit.load(tmp_path / "a.pt")
        make_images = model.translate if isinstance(model, Translates) else model.upscale
        for n, height, width in ((1, 33, 18), (4, 2, 3)):
            images = torch.rand(n, 1 if isinstance(model, Translates) else 3, height, width)
            with torch.no_grad():
                close(module(images), to_unit(make_images(images * 2 - 1)))


def test_each_direction_is_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = make("cyclegan", *SMALL["cyclegan"]).eval()
    images = torch.rand(1, 3, 12, 9)
    for direction in ("X->Y", "Y->X"):
        report = export(model, tmp_path / "a.pt", direction=direction)
        assert report.card["direction"] == direction
        with torch.no_grad():
            actual = torch.jit.load(tmp_path / "a.pt")(images)
        close(actual, to_unit(model.translate(images * 2 - 1, direction)))
    with pytest.raises(ValueError, match=r"--direction=Z->X must be X->Y or Y->X"):
        export(model, tmp_path / "b.pt", direction="Z->X")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".pt"])
@pytest.mark.parametrize("name", MODELS)
def test_every_variant_in_every_format(name: str, suffix: str, tmp_path: Path) -> None:
    """A new variant is exported by being there; its .onnx file has its abilities, but for the inner ones."""
    torch.manual_seed(0)
    model, path = unlike_new(make(name, *SMALL.get(name, []))), tmp_path / f"a{suffix}"
    if not isinstance(model, FromLatents | Translates | Upscales):
        return
    assert export(model, path).difference < 1e-5
    assert os.fsencode(ROOT) not in b"".join(members(path))
    if suffix != ".onnx":
        return
    again = exported.load(path)
    kept = {"FromLatents", "Translates", "Upscales", "Truncates"} & abilities(model)
    kept |= {"OfClasses"} if getattr(model, "classes", None) else set()
    assert abilities(again) == kept
    if isinstance(model, FromLatents):
        close(again.sample(3, seed=5), model.sample(3, seed=5))
        return
    channels = model.channels if isinstance(model, Upscales) else model.directions["X->Y"]
    do, redo = (m.upscale if isinstance(m, Upscales) else m.translate for m in (model, again))
    for n, *sides in ((1, 16, 16), (3, 17, 30), (2, 8, 64), (1, 1, 1), (1, 5, 70)):
        images = torch.rand(n, channels, *sides) * 2 - 1
        with torch.no_grad():
            close(redo(images), do(images))
            close(redo(images * 0 + 0.3), do(images * 0 + 0.3))


@pytest.mark.slow
@pytest.mark.parametrize(
    "configuration",
    [
        ["stylegan_lite", "model.conditional=true", "model.truncation=0.7"],
        ["stylegan_lite", "model.growth=multi_scale", "model.noise=false"],
        ["stylegan_lite", "model.growth=progressive", "data.image_size=[16,24]", "data.channels=4"],
        ["cgan", "model.condition=projection", "model.ema_half_life=null"],
        ["pix2pix", "model.norm=batch", "data.image_size=64"],
        ["pix2pix", "model.generator=resnet", "model.blocks=6", "model.ema_half_life=null"],
        ["srgan", "data.scale=8", "model.skip=none", "data.channels=1", "model.norm=batch"],
    ],
    ids=" ".join,
)
def test_variants_otherwise_configured(configuration: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    name, *options = configuration
    model = unlike_new(make(name, *SMALL[name], *options))
    if "model.growth=progressive" in options:
        model.images = model.growth.phase * 3 // 2  # while a resolution is faded in
    for suffix in (".onnx", ".pt2", ".pt"):
        assert export(model, tmp_path / f"a{suffix}").difference < 1e-5


def members(path: Path) -> list[bytes]:
    """A file's content, that of an archive unpacked."""
    if not zipfile.is_zipfile(path):
        return [path.read_bytes()]
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


# Such a file as a model ---------------------------------------------------------------------------------------------


def abilities(model: Any) -> set[str]:
    return {ability.__name__ for ability in ABILITIES if isinstance(model, ability)}


def test_a_file_samples_as_the_model_does(written: Any) -> None:
    model, path, _ = written("drawing")
    again = exported.load(path)
    assert abilities(again) == {"FromLatents"}
    close(again.sample(5, seed=7), model.sample(5, seed=7))
    model, path, _ = written("classes")
    again = exported.load(path)
    assert abilities(again) == {"FromLatents", "OfClasses", "Truncates"}
    assert again.classes == ["a", "b", "c"]
    close(again.sample(5, seed=7), model.sample(5, seed=7))
    for arguments in ((range(3), 2), (range(3), 2, 0.2), (range(4), None, 1.5)):
        close(draw(again, *arguments), draw(model, *arguments))
    with pytest.raises(ValueError, match="labels must be from 0 to 2"):
        again.sample(1, labels=[3])


@pytest.mark.slow
def test_a_file_translates_and_enlarges_files(written: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (21, 34, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    results = []
    for k, again in enumerate((False, True)):
        model, path, _ = written("translation")
        model = exported.load(path) if again else model
        translator(model)(tmp_path / "in.png", tmp_path / f"translated{k}.png")
        assert not again or abilities(model) == {"Translates"}
        model, path, _ = written("enlargement")
        model = exported.load(path) if again else model
        assert not again or abilities(model) == {"Upscales"}
        enlarge_file(model, tmp_path / "in.png", tmp_path / f"enlarged{k}.png", tile=16)
        results.append(
            [np.asarray(Image.open(tmp_path / f"{what}{k}.png")).astype(int) for what in ("translated", "enlarged")]
        )
    for of_model, of_file in zip(*results, strict=True):
        assert of_model.shape == of_file.shape
        assert np.abs(of_model - of_file).max() <= 1
    with pytest.raises(ValueError, match="Y->X"):
        translator(exported.load(written("translation")[1]), "Y->X")


@pytest.mark.slow
def test_parts_of_a_folded_image_begin_where_blocks_do(written: Any, tmp_path: Path) -> None:
    """A file enlarges in tiles of any size what it enlarges as a whole, as the model does."""
    model, path, report = written("folding")
    assert report.card["grid"] == exported.load(path).grid == model.grid == 2
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (61, 53, 3), np.uint8)).save(tmp_path / "in.png")
    for name, which, tile in (("whole", model, 512), ("parts", exported.load(path), 7)):
        enlarge_file(which, tmp_path / "in.png", tmp_path / f"{name}.png", tile=tile)
    whole, parts = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in ("whole", "parts"))
    assert np.abs(whole - parts).max() <= 1


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("drawing", ["export", "-o", "b.onnx"]),
        ("drawing", ["export", "-o", "b.pt"]),
        pytest.param("folding", ["export", "-o", "b.pth"], marks=pytest.mark.slow),
        ("drawing", ["evaluate"]),
        ("folding", ["evaluate", "--data", "."]),
        ("drawing", ["publish", "-o", "b"]),
    ],
    ids=str,
)
def test_an_exported_file_has_no_weights(
    written: Any, name: str, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [command[0], str(written(name)[1]), *command[1:]])
    assert isinstance(result.exception, ValueError)
    assert f"is an exported file, which zoo {command[0]} can't use: give the run" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_is_off_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = unlike_new(QUICK["drawing"]()), tmp_path / "a.pt"
    path.write_bytes(b"an earlier file")
    images = Drawing.images
    monkeypatch.setattr(Drawing, "images", lambda self, *inputs: images(self, *inputs) + 1e-3)
    with pytest.raises(ValueError, match=r"a.pt is not kept: its images differ by 0.001 .*: give -o .*a.onnx"):
        export(model, path)
    monkeypatch.setattr(Drawing, "images", lambda self, *inputs: images(self, *inputs) * torch.nan)
    with pytest.raises(ValueError, match="not kept: its images differ by inf"):
        export(model, path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
    assert path.read_bytes() == b"an earlier file"


class Counted(FromLatents):
    """A model whose Python looks at how many images there are: a traced graph has the example's number in it."""

    latent_dim, device, images, config = 3, torch.device("cpu"), 0, {}
    named_children = torch.nn.Module().named_children

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.stack([z[k].mean().tanh().expand(1, 4, 4) for k in range(len(z))])


def test_a_graph_of_one_number_of_images_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.pt is not kept: .*: give -o .*a.onnx"):
        export(Counted(), tmp_path / "a.pt")
    assert not list(tmp_path.iterdir())


def test_names_and_models_that_nothing_can_be_made_of(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.h5 must end in one of .onnx \(ONNX\), .pt2 .*such as a.onnx"):
        export(None, tmp_path / "a.h5")
    with pytest.raises(ValueError, match="int has nothing that zoo export takes"):
        export(3, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="VanillaGAN has no directions: leave it out"):
        export(QUICK["drawing"]().eval(), tmp_path / "a.pt", direction="X->Y")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a.pt"
    path.write_text("earlier")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(
            ValueError, match=r"a.pt can't be written \(No space left on device\): give another place, -o"
        ):
            export(QUICK["drawing"]().eval(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
    assert path.read_text() == "earlier"


def test_without_the_packages_there_is_the_line_that_installs_them(
    written: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("drawing")[1]
    monkeypatch.setattr(exported, "find_spec", lambda name: None if name == "onnxruntime" else object())
    for act in (lambda: check_target(tmp_path / "a.onnx"), lambda: exported.load(path)):
        with pytest.raises(ValueError, match=r"onnxruntime, not installed here: pip install 'gan-zoo\[export\]'"):
            act()
    check_target(tmp_path / "a.pt2")


@pytest.mark.parametrize("name", ["export", "exported"])
def test_nobody_needs_the_packages_before_they_are_used(name: str) -> None:
    tree = ast.parse((ROOT / "zoo" / "use" / f"{name}.py").read_text())
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports
    assert not [line for line in imports if "onnx" in line]


# A stranger's file --------------------------------------------------------------------------------------------------


def changed(path: Path, change: Callable[[onnx.ModelProto], object], target: Path) -> Path:
    model = onnx.load(str(path))
    change(model)
    target.write_bytes(model.SerializeToString())
    return target


def says(**values: Any) -> Callable[[onnx.ModelProto], None]:
    """Another card: a value None takes the entry away, bytes are what it says, as they are."""

    def change(model: onnx.ModelProto) -> None:
        entries = {entry.key: entry.value for entry in model.metadata_props}
        entries |= {
            key: value.decode() if isinstance(value, bytes) else json.dumps(value) for key, value in values.items()
        }
        del model.metadata_props[:]
        helper.set_model_props(model, {k: v for k, v in entries.items() if values.get(k, "") is not None})

    return change


def outside(model: onnx.ModelProto) -> None:
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
    onnx.external_data_helper.set_external_data(weight, "../../../etc/passwd")
    weight.ClearField("raw_data")


def outside_in_a_node(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "hidden")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    tensor.ClearField("raw_data")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def endless(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=body))


def of_others(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil.ops", 1))
    model.graph.node.append(helper.make_node("Run", [], ["c"], domain="evil.ops"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (outside, "its weight '.*' lies in another file"),
        (outside_in_a_node, "its weight 'hidden' lies in another file"),
        (endless, "it holds a Loop"),
        (of_others, "its operator 'Run' is of 'evil.ops', not of ONNX itself"),
        (lambda model: model.graph.ClearField("initializer"), "onnxruntime does not take it"),
        (lambda model: model.ClearField("metadata_props"), "it has no card of this zoo"),
        (says(format=2), "its card is of format 2, and this version of gan-zoo reads 1"),
        (says(format=b"["), "its card is no JSON"),
        (says(data=b"[" * 50_000), "its card is no JSON"),
        (says(task="mine"), "its card says task='mine'"),
        (says(task=["draw"]), r"its card says task=\['draw'\]"),
        (says(latent_dim=10**12), "its card says latent_dim=10+"),
        (says(latent_dim=True), "its card says latent_dim=True"),
        (says(latent_dim=99), "its input latents is .*, and its card says otherwise"),
        (says(latent_dim=None), "its card says nothing of latent_dim"),
        (says(resolution=[8, 8]), "its output images is .*, and its card says otherwise"),
        (says(classes=["a", "b"]), "its inputs are 'latents', and its card says latents, labels"),
        (says(classes=[1]), r"its card says classes=\[1\]"),
        (says(variant="a\x1b[2J"), r"its card says variant='a\\x1b\[2J'"),
        (says(trained_for=-1), "its card says trained_for=-1"),
        (says(notes="x" * 1_000_001), "its card has more than 1,000,000 characters"),
        (says(task="translate"), "its card says nothing of channels_out"),
    ],
)  # fmt: skip
def test_what_is_in_a_strangers_file(written: Any, tmp_path: Path, change: Any, said: str) -> None:
    path = changed(written("drawing")[1], change, tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=rf"a.onnx is refused: {said}") as caught:
        exported.load(path)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_what_is_no_file(written: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written("drawing")[1].read_bytes()
    for content in (b"", b"PK\3\4", whole[: len(whole) // 2], os.urandom(1000)):
        (tmp_path / "a.onnx").write_bytes(content)
        with pytest.raises(
            ValueError, match=r"a.onnx is refused: (it is no ONNX file, or damaged|it has no card|its|it h)"
        ):
            exported.load(tmp_path / "a.onnx")
    os.mkfifo(tmp_path / "b.onnx")
    for name, said in (("b", "no file"), ("c", "there is no such file")):
        with pytest.raises(ValueError, match=rf"{name}.onnx can't be read: {said}"):
            exported.load(tmp_path / f"{name}.onnx")
    monkeypatch.setattr(exported, "LARGEST", 10)
    with pytest.raises(ValueError, match="has more than 10 bytes"):
        exported.load(written("drawing")[1])


def test_a_device_that_onnxruntime_lacks(written: Any) -> None:
    with pytest.raises(ValueError, match="device=mps: onnxruntime does not compute there; use cpu"):
        exported.load(written("drawing")[1], "mps")


def test_a_graph_that_makes_something_else_than_it_says(written: Any, tmp_path: Path) -> None:
    def swap(model: onnx.ModelProto) -> None:
        """Its output is said to be of free sides, and is the latents."""
        (output,) = model.graph.output
        del model.graph.node[:], model.graph.value_info[:]
        model.graph.node.append(helper.make_node("Unsqueeze", ["latents", "axes"], ["images"]))
        model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
        shape = ["batch", 100, 1, 1]
        output.CopyFrom(helper.make_tensor_value_info("images", TensorProto.FLOAT, shape))
        says(channels=100, resolution=[1, 1])(model)

    path = changed(written("drawing")[1], swap, tmp_path / "a.onnx")
    model = exported.load(path)
    assert model.sample(2).shape == (2, 100, 1, 1)  # true to its card
    model.card["resolution"] = [2, 2]
    with pytest.raises(ValueError, match=r"in place of float32 \[2, 100, 2, 2\]: the file is damaged"):
        model.sample(2)


# The command --------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = unlike_new(QUICK["drawing"]())
    monkeypatch.setattr(sys.modules["zoo.cli.export"], "loaded", lambda run, device, ability, what: model)
    result = CliRunner().invoke(
        app, ["export", "x", "-o", str(tmp_path / "new" / "g.pt2"), "--time"], catch_exceptions=False
    )
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].endswith(
        f"g.pt2: VanillaGAN as torch.export, {(tmp_path / 'new' / 'g.pt2').stat().st_size:,} bytes"
    )
    assert lines[1] == "latents [batch, 100] -> images [batch, 4, 8, 6]; images in [0, 1]"
    assert lines[2].startswith("largest difference from the model: ")
    assert lines[3].startswith("on one thread: ")
    assert len(lines) == 4
    assert not result.stderr


def test_speed_is_measured_on_both(written: Any) -> None:
    model, path, _ = written("drawing")
    threads = torch.get_num_threads()
    assert all(seconds > 0 for seconds in speed(model, path, rounds=1))
    assert torch.get_num_threads() == threads


def test_every_format_is_tried() -> None:
    assert set(FORMATS) == {".onnx", ".pt2", ".pt", ".torchscript"}
    assert room.TOLERANCE == 1e-4
