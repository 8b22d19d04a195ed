"""An ONNX file that `zoo export` has written, as a model: it samples, translates or enlarges by onnxruntime.

The file is data, maybe a stranger's: it is held to one graph without loops, whose weights lie in it, of operators that
onnxruntime itself has, and its card to plain values that fit the graph. No library of operators is ever loaded.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.game.abilities import FromLatents, OfAttributes, OfClasses, Translates, Truncates, Upscales, labels_of
from zoo.text import printable, shortened

LARGEST = 2_000_000_000  # bytes: no file of one piece is larger
LARGEST_CARD = 1_000_000  # characters
LOOPS = ("Loop", "Scan", "If", "SequenceMap")  # a graph of this zoo has none, and one of a stranger might not end
DOMAINS = ("", "ai.onnx")  # of the operators that belong to ONNX
MOST = 65_536  # of a number in a card: no model's latents, channels or classes are more
INSTALL = "pip install 'gan-zoo[export]'"
OUTPUTS = {"draw": "images", "translate": "translated", "upscale": "enlarged"}  # of each task
TYPES = {"labels": "tensor(int64)"}  # of inputs that are not float32


class Exported:
    """What all files have: a session, and the card that came with it."""

    device = torch.device("cpu")  # of what goes in and comes out, wherever the session computes
    training = False

    def __init__(self, session: Any, card: Mapping[str, Any]) -> None:
        self.session, self.card = session, dict(card)
        self.variant, self.images = card["variant"], card["trained_for"]
        self.config: dict[str, Any] = {"data": card["data"], "ranges": card["ranges"]}

    def run(self, *size: int, **inputs: Tensor) -> Tensor:
        """The output, float32 [*size] in [-1, 1], of inputs whose images are in [0, 1].

        Raises:
            MemoryError: if they need more than there is.
            ValueError: if the graph fails on them, or makes something else than images.
        """
        arrays = {name: np.ascontiguousarray(tensor.detach().cpu().numpy()) for name, tensor in inputs.items()}
        try:
            (output,) = self.session.run(None, arrays)
        except Exception as error:  # onnxruntime's own kinds have no common base but this one
            why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if "alloc" in why.lower():
                raise MemoryError(f"out of memory in onnxruntime ({shortened(why)})") from None
            raise ValueError(f"the exported {self.variant} fails: {printable(shortened(why, length=200))}") from None
        if output.dtype != np.float32 or output.shape != size:
            raise ValueError(
                f"the exported {self.variant} makes {output.dtype} {list(output.shape)} in place of float32 "
                f"{list(size)}: the file is damaged, export it again"
            )
        return torch.from_numpy(output).mul_(2).sub_(1)


class ExportedGenerator(Exported, FromLatents):
    """It makes images of latents: the same ones of the same seeds as the model that was exported."""

    def __init__(self, session: Any, card: Mapping[str, Any]) -> None:
        super().__init__(session, card)
        self.latent_dim = card["latent_dim"]
        self.rng = torch.Generator()

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.drawn(z, labels, 1.0)

    def drawn(self, z: Tensor, labels: Tensor | None, psi: float | Tensor) -> Tensor:
        inputs = {"latents": z.float()}
        for key, name, dtype in (("classes", "labels", torch.int64), ("attributes", "attributes", torch.float32)):
            if key not in self.card:
                continue
            if labels is None:
                raise ValueError(f"this model makes images of {key}: give one for each image, labels=")
            inputs[name] = torch.as_tensor(labels, dtype=dtype)
        if "labels" in inputs and not all(
            0 <= label < len(self.card["classes"]) for label in inputs["labels"].tolist()
        ):
            raise ValueError(f"labels must be from 0 to {len(self.card['classes']) - 1}")
        if "truncation" in self.card:
            inputs["truncation"] = torch.as_tensor(psi, dtype=torch.float32)
        return self.run(len(z), self.card["channels"], *self.card["resolution"], **inputs)


class Truncated(ExportedGenerator, Truncates):
    """One whose images can be drawn towards the mean one."""

    @property
    def truncation(self) -> float:
        return float(self.card["truncation"])

    def truncated(self, z: Tensor, labels: Tensor | None, psi: float | Tensor) -> Tensor:
        return self.drawn(z, labels, psi)

    def generate(self, seeds: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.truncated(self.latent_of(seeds), labels_of(self, seeds, labels), self.truncation)


class ExportedTranslator(Exported, Translates):
    """It translates images in one direction."""

    reach = None  # tiles would need to know the network's stride

    def __init__(self, session: Any, card: Mapping[str, Any]) -> None:
        super().__init__(session, card)
        self.directions = {card["direction"]: card["channels"]}

    def translate(self, images: Tensor, direction: str = "X->Y", tile: int | None = None) -> Tensor:
        if direction not in self.directions:
            raise ValueError(f"direction={direction!r} must be {' or '.join(self.directions)}: one direction is a file")
        if images.dim() != 4 or images.shape[1] != self.directions[direction]:
            raise ValueError(
                f"images of shape {list(images.shape)} can't be translated {direction}: give "
                f"[N, {self.directions[direction]}, height, width] in [-1, 1]"
            )
        if tile is not None:
            raise ValueError("an exported translator takes an image as a whole: leave tiles out")
        size = len(images), self.card["channels_out"], *images.shape[2:]
        return self.run(*size, images=(images.float() + 1) / 2)


class ExportedUpscaler(Exported, Upscales):
    """It enlarges images."""

    def __init__(self, session: Any, card: Mapping[str, Any]) -> None:
        super().__init__(session, card)
        self.scale, self.channels = card["scale"], card["channels"]
        self.grid = card.get("grid", 1)

    @property
    def reach(self) -> int:
        return self.card["reach"]

    def upscale(self, low: Tensor, part: tuple[range, range] | None = None) -> Tensor:
        size = len(low), self.channels, *(self.scale * side for side in low.shape[2:])
        large = self.run(*size, images=(low.float() + 1) / 2)
        rows, columns = part or (range(low.shape[2]), range(low.shape[3]))
        within = lambda side: slice(self.scale * side.start, self.scale * side.stop)
        return large[:, :, within(rows), within(columns)]


# Opening -------------------------------------------------------------------------------------------------------------


def check_weights(model: Any, what: str) -> None:
    """Refuse a model of a file for `what`, a command that needs a model's weights, or how it was trained."""
    if isinstance(model, Exported):
        raise ValueError(
            f"{what} needs a model's weights, and this {model.variant} is an exported file: give the run, the weights "
            "folder or the name that it was made of"
        )


def need_packages(*names: str) -> None:
    """Refuse to go on without these, with the line that installs them."""
    if missing := [name for name in names if find_spec(name) is None]:
        raise ValueError(f"ONNX needs {' and '.join(missing)}, not installed here: {INSTALL}")


def load(path: str | os.PathLike, device: str | torch.device = "cpu") -> Exported:
    """The model of an .onnx file that `zoo export` has written, with its abilities.

    Args:
        device: where onnxruntime computes: cpu, or cuda where it can. Tensors stay on the CPU.

    Raises:
        ValueError: if it is no such file, is damaged, or holds anything that a file of this zoo does not.
    """
    need_packages("onnx", "onnxruntime")
    path = Path(path)
    content = _content(path)
    try:
        card = _card(content)
        session = opened(content, device)
        _check_interface(card, session)
    except Refused as error:
        raise ValueError(f"{path} is refused: {error}") from None
    return _model(card, session)


class Refused(ValueError):
    """What is wrong with a file, as the end of a sentence."""


def opened(content: bytes, device: str | torch.device = "cpu") -> Any:
    """A session of onnxruntime for a file's bytes, with as many threads as torch has.

    Raises:
        Refused: if onnxruntime does not take it.
        ValueError: if it does not compute on this device.
    """
    import onnxruntime

    kind = torch.device(device)
    providers: list[Any] = ["CPUExecutionProvider"]
    if kind.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": kind.index or 0}))
    elif kind.type != "cpu":
        raise ValueError(
            f"device={device}: onnxruntime does not compute there; use cpu"
            + (", or pip install onnxruntime-gpu" if kind.type == "cuda" else "")
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its lines would stand beside ours; errors are raised anyway
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise Refused(f"onnxruntime does not take it ({printable(shortened(why, length=200))})") from None


def _content(path: Path) -> bytes:
    if not path.is_file():  # a pipe would wait for ever
        raise ValueError(f"{path} can't be read: {'no file' if path.exists() else 'there is no such file'}")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is refused: it has more than {LARGEST:,} bytes")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None


def _card(content: bytes) -> dict[str, Any]:
    """The card of a file's bytes, whose graph is looked through on the way."""
    import onnx

    try:
        model = onnx.ModelProto.FromString(content)
    except Exception:  # protobuf's own kind, which is another one in each of its implementations
        raise Refused("it is no ONNX file, or damaged") from None
    if not model.graph.node:
        raise Refused("it is no ONNX file, or damaged")
    for message in _messages(model):
        kind = type(message).__name__
        if kind == "TensorProto" and (message.external_data or message.data_location != onnx.TensorProto.DEFAULT):
            raise Refused(f"its weight {_shown(message.name)} lies in another file; a file of zoo export is whole")
        if kind == "NodeProto" and message.domain not in DOMAINS:
            raise Refused(f"its operator {_shown(message.op_type)} is of {_shown(message.domain)}, not of ONNX itself")
        if kind == "NodeProto" and message.op_type in LOOPS:
            raise Refused(f"it holds a {message.op_type}, which no file of zoo export does, and which need not end")
        if kind == "FunctionProto":
            raise Refused("it has functions of its own, which no file of zoo export has")
    entries = {entry.key: entry.value for entry in model.metadata_props}
    if "format" not in entries or "task" not in entries:
        raise Refused(
            "it has no card of this zoo, so it is not known what goes in and comes out: write it with zoo export RUN "
            "-o FILE.onnx, or run it by onnxruntime itself"
        )
    if sum(map(len, entries.values())) > LARGEST_CARD:
        raise Refused(f"its card has more than {LARGEST_CARD:,} characters")
    try:
        card = {key: json.loads(value) for key, value in entries.items() if key in KEYS}
    except (ValueError, RecursionError):
        raise Refused("its card is no JSON") from None
    _check_card(card)
    return card


def _messages(message: Any) -> Iterator[Any]:
    """A message of protocol buffers, and all those in it."""
    from google.protobuf.message import Message

    left = [message]
    while left:
        message = left.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                left += [value] if isinstance(value, Message) else value


def _natural(value: Any, least: int = 1, most: int = MOST) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _names(value: Any) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= MOST and all(isinstance(name, str) for name in value)


KEYS = {  # of a card, as far as they are read: what they have to be
    "format": lambda value: value == 1,
    "task": lambda value: isinstance(value, str) and value in OUTPUTS,
    "variant": lambda value: isinstance(value, str) and re.fullmatch(r"[A-Za-z]\w{0,99}", value, re.ASCII),
    "trained_for": lambda value: _natural(value, 0, 2**53),
    "data": lambda value: isinstance(value, dict) and value.keys() <= {"background", "range"},
    "ranges": lambda value: isinstance(value, list) and len(value) <= 2,
    "latent_dim": _natural,
    "channels": _natural,
    "channels_out": _natural,
    "resolution": lambda value: isinstance(value, list) and len(value) == 2 and all(map(_natural, value)),
    "classes": _names,
    "attributes": _names,
    "truncation": lambda value: isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 2,
    "direction": lambda value: isinstance(value, str) and re.fullmatch(r"[XY]->[XY]", value),
    "scale": _natural,
    "reach": lambda value: _natural(value, 0),
    "grid": _natural,
}
NEEDED = {  # by each task, beside what all need
    "draw": {"latent_dim", "channels", "resolution"},
    "translate": {"channels", "channels_out", "direction"},
    "upscale": {"channels", "scale", "reach"},
}


def _check_card(card: Mapping[str, Any]) -> None:
    """Hold a card to what `zoo export` writes."""
    if card["format"] != 1:
        raise Refused(f"its card is of format {_shown(card['format'])}, and this version of gan-zoo reads 1")
    for key, value in card.items():
        if not KEYS[key](value):
            raise Refused(f"its card says {key}={_shown(value)}")
    for key in ("variant", "trained_for", "data", "ranges", *sorted(NEEDED[card["task"]])):
        if key not in card:
            raise Refused(f"its card says nothing of {key}")
    if "classes" in card and "attributes" in card:
        raise Refused("its card says that it has classes, and attributes too")


def _check_interface(card: Mapping[str, Any], session: Any) -> None:
    """Hold a graph's inputs and outputs to its card."""
    wanted: dict[str, list[int | None]] = {"images": [None, card["channels"], None, None]}
    out: list[int | None] = [None, card.get("channels_out", card["channels"]), *card.get("resolution", [None, None])]
    if card["task"] == "draw":
        wanted = {"latents": [None, card["latent_dim"]]}
        wanted |= {"labels": [None]} if "classes" in card else {}
        wanted |= {"attributes": [None, len(card["attributes"])]} if "attributes" in card else {}
        wanted |= {"truncation": []} if "truncation" in card else {}
    for what, values, shapes in (
        ("input", session.get_inputs(), wanted),
        ("output", session.get_outputs(), {OUTPUTS[card["task"]]: out}),
    ):
        if {value.name for value in values} != shapes.keys():
            names = ", ".join(_shown(value.name) for value in values)
            raise Refused(f"its {what}s are {names}, and its card says {', '.join(shapes)}")
        for value in values:
            shape = shapes[value.name]
            fits = len(value.shape) == len(shape) and all(
                not isinstance(length, int) if wanted_length is None else length == wanted_length
                for length, wanted_length in zip(value.shape, shape, strict=True)
            )
            if not fits or value.type != TYPES.get(value.name, "tensor(float)"):
                found = f"{_shown(value.type)} {_shown(value.shape)}"
                raise Refused(f"its {what} {value.name} is {found}, and its card says otherwise")


def _model(card: Mapping[str, Any], session: Any) -> Exported:
    if card["task"] == "translate":
        return ExportedTranslator(session, card)
    if card["task"] == "upscale":
        return ExportedUpscaler(session, card)
    own: dict[str, Any] = {key: card[key] for key in ("classes", "attributes") if key in card}
    bases: list[type] = [Truncated if "truncation" in card else ExportedGenerator]
    bases += [ability for key, ability in (("classes", OfClasses), ("attributes", OfAttributes)) if key in own]
    return type("ExportedGenerator", tuple(bases), own)(session, card)


def _shown(value: Any) -> str:
    return printable(shortened(repr(value)))
