"""Writes a trained model as a file that opens without this project: ONNX, torch.export, TorchScript.

    FromLatents  latents float32 [N, latent_dim], z ~ N(0, I); labels int64 [N] or attributes float32 [N, K] where the
                 model has such; truncation float32 [] where it has that -> images float32 [N, C, H, W]
    Translates   images [N, C, H, W] of any size -> translated [N, C', H, W]; one direction a file
    Upscales     images [N, C, h, w] of any size -> enlarged [N, C, s*h, s*w]

All images are in [0, 1], and all N free. The file carries a `Card`: what its inputs and outputs mean, as JSON. It is
tried out beside the model before it gets its name, and is not kept where it differs.

What is traced is what the abilities do (zoo/game/abilities.py), no network by its name. Weights and images are
contiguous in it, whatever they are in the model: see `zoo.networks.translators.InstanceNorm`.
"""

import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile, ZipInfo

import torch
from torch import Tensor, nn

from zoo.batch import to_unit
from zoo.game.abilities import FromLatents, Translates, Truncates, Upscales, attributes_of, classes_of, labels_of
from zoo.text import shortened
from zoo.use.exported import check_weights, need_packages, opened
from zoo.use.pictures import whole

FORMATS = {".onnx": "ONNX", ".pt2": "torch.export", ".pt": "TorchScript", ".torchscript": "TorchScript"}
CARD = "gan_zoo.json"  # in a file of torch, the name of its card
TOLERANCE = 1e-4  # between what the file gives and what the model gives, of images in [0, 1]
OPSET = 20
BATCHES = (1, 3, 2)
SIZES = ((1, 24, 24), (3, 17, 30), (2, 32, 13), (1, 7, 5))  # images, height, width: of what takes any
NORMAL = "normal: mean 0, variance 1"
TRUNCATION = "1 leaves the images as they are, 0 gives the mean one"
Inputs = dict[str, Tensor]  # by name, in their order


class Report(NamedTuple):
    """What came of an export."""

    card: dict[str, Any]
    difference: float  # the largest, of images in [0, 1]
    tried: list[str]  # the inputs, in words
    size: int  # bytes


# What is exported ---------------------------------------------------------------------------------------------------


class Exportable(nn.Module):
    """What a model does, as a module of nothing but the networks that have a part in it: no discriminator, no generator
    where there is an average of it."""

    def __init__(self, model: Any, direction: str | None = None) -> None:
        super().__init__()
        self.hidden = [model]  # in a list: its other networks are not to be written
        self.direction = direction
        self.parts = nn.ModuleDict(busy_parts(model, direction)).to(memory_format=torch.contiguous_format)

    @property
    def model(self) -> Any:
        return self.hidden[0]


class Drawing(Exportable):
    """Latents -> images in [0, 1], by a model `FromLatents`. Subclasses name their inputs: a file has those names."""

    def images(self, latents: Tensor, condition: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        latents = contiguous(latents)
        if truncation is None:
            return to_unit(self.model.from_latents(latents, condition))
        return to_unit(self.model.truncated(latents, condition, truncation))

    def forward(self, latents: Tensor) -> Tensor:
        return self.images(latents)


class DrawingOfClasses(Drawing):
    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        return self.images(latents, labels)


class DrawingOfAttributes(Drawing):
    def forward(self, latents: Tensor, attributes: Tensor) -> Tensor:  # type: ignore[override]
        return self.images(latents, attributes)


class TruncatedDrawing(Drawing):
    def forward(self, latents: Tensor, truncation: Tensor) -> Tensor:  # type: ignore[override]
        return self.images(latents, truncation=truncation)


class TruncatedDrawingOfClasses(Drawing):
    def forward(self, latents: Tensor, labels: Tensor, truncation: Tensor) -> Tensor:  # type: ignore[override]
        return self.images(latents, labels, truncation)


class TruncatedDrawingOfAttributes(Drawing):
    def forward(self, latents: Tensor, attributes: Tensor, truncation: Tensor) -> Tensor:  # type: ignore[override]
        return self.images(latents, attributes, truncation)


DRAWINGS: dict[
    tuple[str | None, bool], type[Drawing]
] = {  # by what they take beside latents, and whether they truncate
    (None, False): Drawing,
    ("labels", False): DrawingOfClasses,
    ("attributes", False): DrawingOfAttributes,
    (None, True): TruncatedDrawing,
    ("labels", True): TruncatedDrawingOfClasses,
    ("attributes", True): TruncatedDrawingOfAttributes,
}


class Translation(Exportable):
    """Images in [0, 1] -> translated ones, by a model that `Translates`."""

    def forward(self, images: Tensor) -> Tensor:
        return to_unit(self.model.translate(contiguous(images) * 2 - 1, self.direction))


class Enlargement(Exportable):
    """Images in [0, 1] -> enlarged ones, by a model that `Upscales`."""

    def forward(self, images: Tensor) -> Tensor:
        return to_unit(self.model.upscale(contiguous(images) * 2 - 1))


def contiguous(x: Tensor) -> Tensor:
    """A copy in the usual layout, which stays in a traced graph where `x.contiguous()` would be left out."""
    return x.clone(memory_format=torch.contiguous_format)


class Task(NamedTuple):
    """A model as a function of tensors, with all that tells whether a file is the same function."""

    module: nn.Module
    output: str  # its name
    example: Inputs  # to trace it with
    free: dict[str, dict[int, str]]  # the axes of the inputs that have no fixed length, named
    axes: list[int | str]  # of the output: lengths, names of free ones, or what they are multiplied by
    cases: list[tuple[str, Inputs, Tensor]]  # in words; inputs; what the model itself makes of them, in [0, 1]
    card: dict[str, Any]


@torch.no_grad()
def task_of(model: Any, direction: str | None = None) -> Task:
    """What is to be exported of a model, by its abilities.

    Args:
        model: in evaluation mode, on the CPU, such as `zoo.load` gives.
        direction: of one that `Translates`; None: its usual one.

    Raises:
        ValueError: if it makes no images, has no such direction, or is an exported file itself.
    """
    check_weights(model, "zoo export")
    if direction is not None and not isinstance(model, Translates):
        raise ValueError(f"--direction={direction}: {type(model).__name__} has no directions: leave it out")
    if isinstance(model, FromLatents):
        return _drawing(model)
    if isinstance(model, Translates):
        return _translation(model, direction or next(iter(model.directions)))
    if isinstance(model, Upscales):
        return _enlargement(model)
    raise ValueError(
        f"{type(model).__name__} has nothing that zoo export takes: it neither makes images of latents, nor translates "
        "images, nor enlarges them"
    )


def _drawing(model: Any) -> Task:
    classes, attributes, truncates = classes_of(model), attributes_of(model), isinstance(model, Truncates)
    condition = "labels" if classes else "attributes" if attributes else None
    cases = []
    for k, n in enumerate(BATCHES):
        seeds = torch.arange(n) + 10 * k
        labels = labels_of(model, seeds)
        if attributes:
            labels = torch.rand(n, len(attributes), generator=torch.Generator().manual_seed(k))
        inputs = {"latents": model.latent_of(seeds)} | ({condition: labels} if condition else {})
        if not truncates:
            images = model.generate(seeds, labels)
        else:
            psi = (model.truncation, 0.5, 0.0)[k]
            images = model.generate(seeds, labels) if k == 0 else model.truncated(inputs["latents"], labels, psi)
            inputs["truncation"] = torch.tensor(float(psi))
        cases.append((str(n), inputs, to_unit(images)))
    shape = list(cases[0][2].shape[1:])
    card: dict[str, Any] = {
        "task": "draw",
        "inputs": {"latents": {"type": "float32", "shape": ["batch", model.latent_dim], "distribution": NORMAL}},
        "outputs": {"images": _images(["batch", *shape])},
        "latent_dim": model.latent_dim,
        "channels": shape[0],
        "resolution": shape[1:],
    }
    if classes:
        card["classes"] = classes
        card["inputs"]["labels"] = {"type": "int64", "shape": ["batch"], "range": [0, len(classes) - 1]}
    if attributes:
        card["attributes"] = attributes
        card["inputs"]["attributes"] = {"type": "float32", "shape": ["batch", len(attributes)]}
    if truncates:
        card["truncation"] = float(model.truncation)
        card["inputs"]["truncation"] = {"type": "float32", "shape": [], "range": [0, 2], "meaning": TRUNCATION}
    free = {name: {0: "batch"} for name in cases[0][1] if name != "truncation"}
    module = DRAWINGS[condition, truncates](model)
    return Task(module, "images", cases[-1][1], free, ["batch", *shape], cases, {**card, **_origin(model)})


def _translation(model: Any, direction: str) -> Task:
    if direction not in model.directions:
        raise ValueError(f"--direction={direction} must be {' or '.join(model.directions)}")
    channels = model.directions[direction]
    module = Translation(model, direction)  # which makes the weights contiguous, as the cases are to find them
    translate = lambda images: to_unit(model.translate(images * 2 - 1, direction))
    cases = _cases_of_images(model, channels, translate)
    into = cases[0][2].shape[1]
    card = {
        "task": "translate",
        "inputs": {"images": _images(["batch", channels, "height", "width"])},
        "outputs": {"translated": _images(["batch", into, "height", "width"])},
        "direction": direction,
        "channels": channels,
        "channels_out": into,
    }
    axes: list[int | str] = ["batch", into, "height", "width"]
    return Task(module, "translated", *_of_any_size(channels), axes, cases, {**card, **_origin(model)})


def _enlargement(model: Any) -> Task:
    module, channels, scale = Enlargement(model), model.channels, model.scale  # first, as in `_translation`
    cases = _cases_of_images(model, channels, lambda images: to_unit(model.upscale(images * 2 - 1)))
    axes: list[int | str] = ["batch", channels, f"{scale}*height", f"{scale}*width"]
    card = {
        "task": "upscale",
        "inputs": {"images": _images(["batch", channels, "height", "width"])},
        "outputs": {"enlarged": _images(axes)},
        "scale": scale,
        "reach": model.reach,
        "grid": getattr(model, "grid", 1),
        "channels": channels,
    }
    return Task(module, "enlarged", *_of_any_size(channels), axes, cases, {**card, **_origin(model)})


def _of_any_size(channels: int) -> tuple[Inputs, dict[str, dict[int, str]]]:
    """An example to trace with, of no special size, and the free axes."""
    example = torch.rand(2, channels, 37, 45, generator=torch.Generator().manual_seed(0))
    return {"images": example}, {"images": {0: "batch", 2: "height", 3: "width"}}


def _cases_of_images(model: Any, channels: int, make: Callable[[Tensor], Tensor]) -> list[tuple[str, Inputs, Tensor]]:
    """Noise of several sizes, square, odd and small; and a uniform image."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(n, channels, *size, generator=generator) for n, *size in SIZES]
    images.append(torch.full((1, channels, 20, 20), 0.3))
    words = [f"{n} of {height}x{width}" for n, height, width in SIZES] + ["a uniform one"]
    return [(word, {"images": image}, make(image)) for word, image in zip(words, images, strict=True)]


def _images(shape: Sequence[int | str]) -> dict[str, Any]:
    return {"type": "float32", "shape": list(shape), "range": [0, 1], "layout": "batch, channels, height, width"}


def _origin(model: Any) -> dict[str, Any]:
    """Where a file comes from, and how images of files have to enter it: plain settings, no place on any disk."""
    data = model.config.get("data") or {}
    plain = {name: data[name] for name in ("background", "range") if data.get(name) is not None}
    try:
        library = f"gan-zoo {version('gan-zoo')}"
    except PackageNotFoundError:
        library = "gan-zoo"
    return {
        "format": 1,
        "variant": type(model).__name__,
        "trained_for": int(model.images),  # images
        "data": plain,
        "ranges": model.config.get("ranges") or [],
        "library": library,
        "torch": str(torch.__version__),
    }


def busy_parts(model: Any, direction: str | None = None) -> dict[str, nn.Module]:
    """The networks of a model that its images come through, by name: those of which a layer is called for one."""
    busy: set[str] = set()
    hooks = [
        layer.register_forward_hook(lambda *_, name=name: busy.add(name))
        for name, network in model.named_children()
        for layer in network.modules()
    ]
    try:
        if isinstance(model, FromLatents):
            seed, attributes = torch.arange(1), attributes_of(model)
            model.generate(seed, torch.zeros(1, len(attributes)) if attributes else labels_of(model, seed))
        elif isinstance(model, Translates):
            direction = direction or next(iter(model.directions))
            model.translate(torch.zeros(1, model.directions[direction], 8, 8), direction)
        else:
            model.upscale(torch.zeros(1, model.channels, 8, 8))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: network for name, network in model.named_children() if name in busy}


# Writing ------------------------------------------------------------------------------------------------------------


def check_target(path: Path) -> None:
    """Refuse a name that says no format, and one for which something has to be installed first."""
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(f"{suffix} ({name})" for suffix, name in FORMATS.items())
        raise ValueError(f"-o {path} must end in one of {known}, such as {path.stem or 'model'}.onnx")
    if path.suffix.lower() == ".onnx":
        need_packages("onnx", "onnxscript", "onnxruntime")


@torch.no_grad()
def export(model: Any, path: Path, *, direction: str | None = None) -> Report:
    """Write a model into a file whose name says the format; try it out, and keep it where it gives the same images.

    Args:
        model: as `zoo.load` gives it, on the CPU. Its weights may change their layout in memory, nothing else of it.
        path: see FORMATS.
        direction: of a model that translates.

    Raises:
        ValueError: if the format is unknown, the model can't be exported, or the file is not the same within TOLERANCE.
    """
    check_target(path)
    task = task_of(model, direction)
    content = _content(task, path)
    with whole(path) as part:
        part.write_bytes(content)
        difference = largest_difference(task, runner(part, list(task.example)), path)
        if not difference <= TOLERANCE:
            raise ValueError(
                f"{path} is not kept: its images differ by {difference:.2g} from those of "
                f"{task.card['variant']}, more than {TOLERANCE:g}{_instead(path)}"
            )
    return Report(task.card, difference, [words for words, _, _ in task.cases], len(content))


def _content(task: Task, path: Path) -> bytes:
    suffix = path.suffix.lower()
    write = {".onnx": _onnx, ".pt2": _pt2}.get(suffix, _torchscript)
    try:
        with quiet():
            return write(task)
    except Exception as error:
        if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
            raise
        lines = [line for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
        why = shortened(lines[0].strip(), length=200)
        message = f"{task.card['variant']} can't be written as {FORMATS[suffix]} ({why}){_instead(path)}"
        raise ValueError(message) from error


def _instead(path: Path) -> str:
    return "" if path.suffix.lower() == ".onnx" else f": give -o {path.with_suffix('.onnx')}"


def program(task: Task) -> torch.export.ExportedProgram:
    """The graph of a task, for any length of its free axes.

    Lengths are taken for unknown (`backed_size_oblivious`): otherwise the graph would hold for such as the example's
    alone, more than one pixel wide or no multiple of the network's stride.
    """
    from torch.fx.experimental import _config

    shapes = {name: dict.fromkeys(task.free.get(name, ()), torch.export.Dim.DYNAMIC) for name in task.example}
    with _config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        made = torch.export.export(
            task.module.eval(), tuple(task.example.values()), dynamic_shapes=shapes, strict=False
        )
    graphs = [part.graph for part in made.graph_module.modules() if isinstance(part, torch.fx.GraphModule)]
    for node in (node for graph in graphs for node in graph.nodes):  # of blocks without autocast too
        node.meta.pop("stack_trace", None)  # the places of source files
    return made


def _onnx(task: Task) -> bytes:
    made = torch.onnx.export(
        program(task), input_names=list(task.example), output_names=[task.output], opset_version=OPSET, dynamo=True,
        external_data=False, verbose=False,
    )  # fmt: skip
    assert made is not None
    model = made.model_proto
    lengths = {name: list(tensor.shape) for name, tensor in task.example.items()}
    axes = {name: [task.free.get(name, {}).get(k, n) for k, n in enumerate(shape)] for name, shape in lengths.items()}
    axes[task.output] = task.axes
    for value in (*model.graph.input, *model.graph.output):
        for dimension, length in zip(value.type.tensor_type.shape.dim, axes[value.name], strict=True):
            if isinstance(length, str):
                dimension.dim_param = length
    _forget_source(model)
    model.producer_name = "gan-zoo"
    del model.metadata_props[:]
    for key, value in task.card.items():
        model.metadata_props.add(key=key, value=json.dumps(value, ensure_ascii=False))
    return model.SerializeToString(deterministic=True)


def _forget_source(model: Any) -> None:
    """Take out what the exporter notes of where each node comes from: lines of source files, and their places."""
    for holder in (model.graph, *model.functions):
        values = () if holder is not model.graph else (*holder.input, *holder.output, *holder.initializer)
        for part in (holder, *holder.node, *holder.value_info, *values):
            for field in {"metadata_props", "doc_string"}.intersection(part.DESCRIPTOR.fields_by_name):
                part.ClearField(field)


def _pt2(task: Task) -> bytes:
    buffer = BytesIO()
    torch.export.save(program(task), buffer, extra_files={CARD: json.dumps(task.card, ensure_ascii=False)})
    return buffer.getvalue()


def _torchscript(task: Task) -> bytes:
    traced = torch.jit.trace(task.module.eval(), tuple(task.example.values()), check_trace=False)
    buffer = BytesIO()
    torch.jit.save(traced, buffer, _extra_files={CARD: json.dumps(task.card, ensure_ascii=False)})
    without_source = BytesIO()
    with ZipFile(buffer) as archive, ZipFile(without_source, "w") as copy:
        for name in archive.namelist():
            if not name.endswith(".debug_pkl"):  # the places of source files
                copy.writestr(ZipInfo(name), archive.read(name))
    return without_source.getvalue()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' advice to themselves."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# Trying it out ------------------------------------------------------------------------------------------------------


def runner(path: Path, names: Sequence[str]) -> Callable[[Inputs], Tensor]:
    """A file of FORMATS as a function of its named inputs, which somebody else would run alike."""
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        session = opened(path.read_bytes())
        return lambda inputs: torch.from_numpy(session.run(None, {name: inputs[name].numpy() for name in names})[0])
    with quiet():
        module = torch.export.load(path).module() if suffix == ".pt2" else torch.jit.load(path)
    return lambda inputs: module(*(inputs[name] for name in names))


@torch.no_grad()
def largest_difference(task: Task, run: Callable[[Inputs], Tensor], path: Path) -> float:
    """The largest difference of any pixel between a file's images and the model's, over the task's cases.

    Raises:
        ValueError: if the file fails on one of them, or gives images of another size.
    """
    difference = 0.0
    for words, inputs, expected in task.cases:
        try:
            with quiet():
                actual = run(inputs)
        except Exception as error:
            why = shortened(next(iter(str(error).strip().splitlines()), type(error).__name__), length=120)
            raise ValueError(f"{path} is not kept: it fails on {words} ({why}){_instead(path)}") from error
        if actual.shape != expected.shape:
            shapes = f"{list(actual.shape)} in place of {list(expected.shape)}"
            raise ValueError(f"{path} is not kept: of {words} it makes {shapes}{_instead(path)}")
        far = (actual - expected).abs().max()
        difference = max(difference, float(far) if far.isfinite() else float("inf"))
    return difference


@torch.no_grad()
def speed(model: Any, path: Path, *, direction: str | None = None, rounds: int = 5) -> tuple[float, float]:
    """The seconds that a batch takes by the model in torch, and by its file: each on one thread, the best of `rounds`.

    The batch is of 16 latents, or of one image of 128 pixels a side.
    """
    task = task_of(model, direction)
    inputs = {name: tensor[:1].repeat(16, *[1] * (tensor.dim() - 1)) if tensor.dim() else tensor
              for name, tensor in task.example.items()}  # fmt: skip
    if "images" in inputs:
        channels = inputs["images"].shape[1]
        inputs = {"images": torch.rand(1, channels, 128, 128, generator=torch.Generator().manual_seed(2))}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        run = runner(path, list(inputs))
        ways: list[Callable[[], Any]] = [lambda: task.module(*inputs.values()), lambda: run(inputs)]
        best = [float("inf"), float("inf")]
        for _ in range(rounds + 1):  # the first one warms up
            for which, way in enumerate(ways):
                start = time.perf_counter()
                way()
                best[which] = min(best[which], time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return best[0], best[1]
