"""Checkpoints: written whole or not at all, read without running code; and the model of one, or of a weights folder.

Nothing here unpickles objects, see `zoo.torchfile`; what settings in a checkpoint may say is in `zoo.run.trust`. A
checkpoint that is a stranger's, or damaged, is refused with a sentence before anything is made of it.
"""

import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from torch.nn.modules import module as registration

from zoo import torchfile
from zoo.atomic import replacing
from zoo.game.gan import GAN
from zoo.run import trust
from zoo.weights import folder
from zoo.weights.folder import Weights

HOOKS = {"load_state_dict", "on_load_checkpoint", "load_state", "load_rank_state", "restore_random_states"}


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to the disk, then renames: a killed process leaves the earlier file intact."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None) -> None:
        """Replace `path` by `checkpoint`, atomically.

        Raises:
            OSError: if it can't be written; an earlier file there is intact.
        """
        try:
            with replacing(Path(path)) as part, part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except RuntimeError as error:  # so torch.save says that the disk is full
            raise OSError(str(error)) from error

    def load_checkpoint(self, path: str | os.PathLike, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """A file of plain data, without running code; `check_resumable` has looked at it before."""
        return torchfile.load(Path(path))


def newest(run: str | os.PathLike) -> Path:
    """The checkpoint to go on from: a file itself, or of a run's folder the one that has seen most images.

    Where training has diverged since last.ckpt, that one is it: `zoo.run.retreat` has gone back further than best.ckpt.

    Raises:
        ValueError: if there is none that can be read.
    """
    path = Path(run).expanduser()
    if path.is_file():
        read_whole(path)
        return path
    images, problems = {}, []
    for candidate in (path / "checkpoints" / name for name in ("last.ckpt", "best.ckpt")):
        try:
            if candidate.exists():
                images[candidate] = read_whole(candidate)["zoo"]["images"]
        except ValueError as error:
            problems.append(str(error))
    if not images:
        raise ValueError("; ".join([f"there is nothing to resume: no checkpoint in {path}/checkpoints", *problems]))
    last, diverged = (path / "checkpoints" / f"{name}.ckpt" for name in ("last", "diverged"))
    with suppress(ValueError):  # there is none
        if last in images and read(diverged)["zoo"]["images"] > images[last]:
            images = {last: images[last]}
    start = max(images, key=images.__getitem__)
    for problem in problems:
        print(f"{problem}; going on from {start}", flush=True)
    return start


def read(path: str | os.PathLike) -> dict[str, Any]:
    """A checkpoint's content, on the CPU.

    Raises:
        ValueError: if the file is damaged, is no checkpoint of this zoo, holds objects other than plain data, or
            weights that are no numbers.
    """
    path = Path(path)
    try:
        checkpoint = torchfile.load(path)
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("zoo"), dict):
            raise ValueError(f"{path} is a torch file but no checkpoint of this zoo")
        with _of(path):
            _check_natural(checkpoint["zoo"], "images")
            weights = checkpoint.get("state_dict", {})
            if not isinstance(weights, dict):
                raise ValueError("its state_dict is no dict")
            for name, weight in weights.items():
                if str(name).endswith("._extra_state"):  # images that an average or the augmentation has seen
                    _check_natural(weights, name)
                elif not _is_dense(weight):
                    raise ValueError(f"its state_dict has {trust.shown(name)}, which is no tensor")
        torchfile.check_finite(weights, str(path))
    except ValueError as error:
        raise ValueError(f"{error}{_alternative(path)}") from None
    return checkpoint


def read_whole(path: str | os.PathLike) -> dict[str, Any]:
    """A checkpoint's content, where all that makes the model again is there, and of the right type.

    Raises:
        ValueError: as `read`; and if something is missing, or its settings say more than a file may.
    """
    checkpoint = read(path)
    with _of(path, _alternative(Path(path))):
        for name in ("state_dict", "hyper_parameters"):
            _part(checkpoint, name, dict)
        trust.variant(_part(checkpoint["zoo"], "variant", str))
        trust.check_plain(checkpoint["hyper_parameters"], "hyper_parameters")
        trust.settings(_part(checkpoint["zoo"], "config", dict))
    return checkpoint


@contextmanager
def _of(path: str | os.PathLike, alternative: str = "") -> Iterator[None]:
    """Let what is wrong with a checkpoint's content name the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path} is refused: {error}{alternative}") from None


def _part(holder: Mapping[str, Any], name: str, kind: type) -> Any:
    if name not in holder:
        raise ValueError(f"it has no {name}")
    if not isinstance(holder[name], kind):
        raise ValueError(f"its {name} is {trust.shown(holder[name])}, not a {kind.__name__}")
    return holder[name]


def _check_natural(holder: Mapping[str, Any], name: str) -> None:
    value = _part(holder, name, int)
    if isinstance(value, bool) or not 0 <= value < 2**53:
        raise ValueError(f"its {name} is {trust.shown(value)}, no number of images")


def _is_dense(tensor: Any) -> bool:
    """Whether it is a tensor, and lies in memory element by element: not sparse, quantised, nor one number repeated."""
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return False
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()


def _alternative(path: Path) -> str:
    others = [p for p in (path.with_name("best.ckpt"), path.with_name("last.ckpt")) if p != path and p.is_file()]
    return f"; {others[0]} is another checkpoint of that run" if others else ""


def content(place: Path) -> Weights:
    """What makes a trained model again: of a checkpoint, of a weights folder, or of somebody else's file.

    Raises:
        ValueError: if it can't be read, lacks something, or its settings say more than a file may.
    """
    if place.is_dir():
        weights = folder.read(place)
        with _of(place):
            trust.variant(weights.variant)
            trust.check_plain(weights.hyperparameters, "hyperparameters")
            trust.settings(weights.config)
            trust.check_plain(weights.about, "about")
            _check_natural({"images": weights.images}, "images")
        return weights
    if place.suffix.lower() == ".onnx":
        raise ValueError(
            f"{place} is an exported file, which holds no networks: give the run, the weights folder or the name that "
            "it was exported from"
        )
    if place.suffix.lower() != ".ckpt" and not _is_ours(place):
        from zoo.run import foreign  # late: few need it

        return foreign.read([place])[0]
    checkpoint = read_whole(place)
    of_run = checkpoint["zoo"]
    return Weights(
        variant=of_run["variant"],
        hyperparameters=checkpoint["hyper_parameters"],
        tensors=checkpoint["state_dict"],
        images=of_run["images"],
        config=of_run["config"],
        whole=True,
    )


def _is_ours(path: Path) -> bool:
    """Whether a file of any name is a checkpoint of this zoo, as far as it can be read."""
    try:
        checkpoint = torchfile.load(path)
    except ValueError:
        return False
    return isinstance(checkpoint, dict) and "zoo" in checkpoint


def load(place: Path, *, device: str | torch.device = "cpu") -> GAN:
    """The trained model of a checkpoint or a weights folder, in evaluation mode; see `zoo.loading.load` for names.

    Raises:
        ValueError: if it can't be read, or is not of a variant of this zoo, or its weights do not fit that.
    """
    weights = content(place)
    with _of(place, _alternative(place)):
        trust.check_targets(weights.config)
        model = built(weights)
    return model.to(device).eval()


def built(weights: Weights) -> GAN:
    """The model of weights, which is first made without memory: its size is the file's to say, and may be any.

    Where the weights are not whole, those networks have to be there that a trained model is used by (`GAN.deployed`),
    and their averages, or the critic's alone; the others are as new.

    Raises:
        ValueError: if the hyperparameters make no model, or one of other weights than there are.
    """
    variant, tensors = trust.variant(weights.variant), weights.tensors
    try:
        with torch.device("meta"), _at_most(tensors):
            shapes = variant(**weights.hyperparameters)
    except Exception as error:  # whatever an odd value makes a constructor stumble over
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"its hyperparameters make no {variant.__name__} ({trust.shown(lines[0])[1:-1]})") from None
    wanted, missing = shapes.state_dict(), frozenset[str]()
    if not weights.whole:
        parts = {name.partition(".")[0] for name in tensors}
        makers = shapes.deployed().keys() | shapes.averages().keys()
        if parts & makers or not parts:
            parts |= makers
        else:
            missing = frozenset(makers)
        wanted = {name: shape for name, shape in wanted.items() if name.partition(".")[0] in parts}
        wanted = {name: shape for name, shape in wanted.items() if isinstance(shape, Tensor) or name in tensors}
    if misfit := _misfit(tensors, wanted):
        raise ValueError(f"its weights are of another model than its hyperparameters make: {misfit}")
    model = variant(**weights.hyperparameters)
    model.load_state_dict(tensors, strict=weights.whole)
    model.images, model.config, model.missing = weights.images, weights.config, missing
    return model


def _misfit(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """Where weights first differ from what a model has, in names or shapes, or None."""
    for name in [*wanted, *weights]:
        if name not in wanted or name not in weights:
            return f"{trust.shown(name)[1:-1]} is in {'one' if name in weights else 'the other'} alone"
        of_file, of_model = _kind(weights[name]), _kind(wanted[name])
        if of_file != of_model:
            return f"{name} is {of_file}, not {of_model}"
    return None


def _kind(weight: Any) -> str:
    if not isinstance(weight, Tensor):
        return "a number"
    return f"{list(weight.shape)}{'' if weight.is_floating_point() else ' integer'}"


@contextmanager
def _at_most(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Let nothing be built that has far more layers than these weights belong to: the number is a stranger's.

    Raises:
        ValueError: within the block, as soon as it has.
    """
    left = 1_000 + 40 * len(weights)  # layers without weights, and such as are registered twice, included

    def count(*args: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError("they ask for far more layers than there are weights")

    hooks = [
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_module_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


# To go on with a run -------------------------------------------------------------------------------------------------


def check_resumable(
    path: str | os.PathLike, trainer: L.Trainer, model: GAN, datamodule: L.LightningDataModule
) -> dict[str, Any]:
    """The content of a checkpoint that training can go on from: what it keeps fits those that take it up.

    Args:
        path: the checkpoint.
        trainer, model, datamodule: of the settings to go on with, nothing taken up yet.

    Raises:
        ValueError: naming what is missing, or of another type, shape or range.
    """
    checkpoint = read_whole(path)
    if misfit := _misfit(checkpoint["state_dict"], model.state_dict()):
        raise ValueError(
            f"{path} is of another model than these settings make, {misfit} (resume=RUN alone keeps those it named; "
            "CHANGELOG.md says which defaults have changed)"
        )
    with _of(path, _alternative(Path(path))):
        state = checkpoint["zoo"]
        for turns in _part(state, "turns", dict):
            _check_natural(state["turns"], turns)
        for name, value in [*_part(state, "latest", dict).items(), ("lr_factor", _part(state, "lr_factor", float))]:
            if not isinstance(value, int | float):
                raise ValueError(f"its {trust.shown(name)} is {trust.shown(value)}, no number")
        rates, players = _part(state, "rates", dict), model.players()
        if rates.keys() != players.keys() or not all(isinstance(rate, int | float) for rate in rates.values()):
            raise ValueError(f"its rates are not one of each player: {', '.join(players)}")
        if not 0 < state["lr_factor"] <= 1:
            raise ValueError(f"its lr_factor is {state['lr_factor']}, not in (0, 1]")
        if not _part(state, "ranks", list) or not all(isinstance(rank, dict) for rank in state["ranks"]):
            raise ValueError("its ranks are no list of what each process keeps")
        for name, node in trust.nodes(_part(checkpoint, "loops", dict), "loops"):
            if not isinstance(node, dict | list | int | None) or (isinstance(node, int) and not 0 <= node < 2**53):
                raise ValueError(f"its {trust.shown(name)[1:-1]} is {trust.shown(node)}, no count")
        _check_like(checkpoint["loops"].get("fit_loop"), trainer.fit_loop.state_dict(), "fit_loop")
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if callback.state_key in _part(checkpoint, "callbacks", dict):
                _check_like(checkpoint["callbacks"][callback.state_key], callback.state_dict(), callback.state_key)
        for _ in trust.nodes(checkpoint["callbacks"], "callbacks"):
            pass  # they have an end
        position = type(datamodule).__qualname__
        if position in checkpoint:  # else it begins anew
            _check_like(checkpoint[position], datamodule.state_dict(), position)
            if "shown" in checkpoint[position]:
                _check_natural(checkpoint[position], "shown")
        states = _part(checkpoint, "optimizer_states", list)
        if len(states) != len(players):
            raise ValueError(f"it has {len(states)} optimizers' states, and the players are {', '.join(players)}")
        for (player, networks), of_player in zip(players.items(), states, strict=True):
            _check_optimizer(model, player, networks, of_player)
    return checkpoint


def _check_like(stored: Any, fresh: Any, name: str) -> None:
    """Hold a state to the names and types of one that is new; None may stand in either for what is not yet known."""
    if isinstance(fresh, dict) and isinstance(stored, dict):
        for key, value in fresh.items():
            if key not in stored:
                raise ValueError(f"its {name} has no {key}")
            _check_like(stored[key], value, f"{name}.{key}")
    elif None not in (fresh, stored):
        kinds = (int, float) if isinstance(fresh, int | float) else type(fresh)
        if not isinstance(stored, kinds) or (isinstance(stored, int | float) and not abs(stored) < 2**53):
            raise ValueError(f"its {name} is {trust.shown(stored)}, not a {type(fresh).__name__}")


def _check_optimizer(model: GAN, player: str, networks: list[nn.Module], state: Any) -> None:
    sample = nn.Parameter(torch.zeros(2))
    optimizer = model.optimizer(player, [sample])
    sample.grad = torch.zeros(2)
    optimizer.step()
    moments = optimizer.state[sample]  # what one of these keeps for a parameter
    shapes = [p.shape for network in networks for p in network.parameters() if p.requires_grad]
    for name, kind in (("state", dict), ("param_groups", list)):
        _part(state if isinstance(state, dict) else {}, name, kind)
    if [list(range(len(shapes)))] != [isinstance(g, dict) and g.get("params") for g in state["param_groups"]]:
        raise ValueError(f"{player}'s optimizer is not one of {len(shapes)} parameters")
    for index, of_parameter in state["state"].items():
        known = index in range(len(shapes)) and isinstance(of_parameter, dict)
        if not known or of_parameter.keys() != moments.keys():
            kept = ", ".join(moments)
            raise ValueError(f"{player}'s optimizer keeps something else for {trust.shown(index)} than {kept}")
        for name, moment in of_parameter.items():
            shape = shapes[index] if moments[name].dim() else torch.Size()
            if not _is_dense(moment) or moment.shape != shape or not moment.isfinite().all():
                raise ValueError(f"{player}'s optimizer: {name} of parameter {index} is not numbers of {list(shape)}")


@contextmanager
def going_on_from(path: Path | None) -> Iterator[None]:
    """Let what Lightning, callbacks and data stumble over as they take up a checkpoint be one sentence.

    Raises:
        ValueError: naming the file, in place of any error that was raised while a state was taken up.
    """
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        restoring = any(f.name in HOOKS or f.filename.endswith("checkpoint_connector.py") for f in frames)
        ours = isinstance(error, ValueError) and Path(frames[-1].filename).is_relative_to(Path(__file__).parents[1])
        if path is None or not restoring or ours:
            raise
        raise ValueError(
            f"{path} can't be gone on with: the state that it keeps is damaged ({type(error).__name__}: "
            f"{trust.shown(str(error))[1:-1]}){_alternative(path)}"
        ) from error
