"""zoo publish."""

import os
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from typer import Option

from zoo.cli.common import Device, Run, refuse_exported, watched
from zoo.cli.measure import generator, of_run

LIBRARIES = ("gan-zoo", "torch", "lightning")  # whose versions the card names


def publish(
    run: Run,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[hf:USER/NAME] [SETTINGS]", help="upload to there; settings, as of zoo evaluate"),
    ] = None,
    output: Annotated[Path | None, Option("-o", "--output", metavar="FOLDER", help="a new folder")] = None,
    half: Annotated[bool, Option("--half", help="numbers of 16 bits: half the size; the card compares both")] = False,
    critic: Annotated[
        bool, Option("--with-discriminator", help="the discriminator too, for whoever trains on")
    ] = False,
    licence: Annotated[str | None, Option("--license", metavar="ID", help="of the weights, such as cc-by-4.0")] = None,
    data_licence: Annotated[
        str | None, Option("--data-license", metavar="ID", help="of images of your own, such as cc-by-4.0")
    ] = None,
    private: Annotated[bool, Option("--private", help="on the hub: for you alone")] = False,
    device: Device = "cpu",
) -> None:
    """Make a weights folder of a trained model: numbers, settings, a card with figures, a picture; no code.

    The figures are measured on the file as it is stored, by the metrics of the run: give others as settings, such as
    metrics=inception, or metrics=none for a card without. With hf:USER/NAME the folder goes to the Hugging Face hub.
    """
    from zoo.game.abilities import classes_of
    from zoo.loading import load
    from zoo.use import card
    from zoo.use.publish import picture, uses, weights_of
    from zoo.weights import folder, hub
    from zoo.weights.names import HUB, find

    targets = [word for word in words or [] if word.startswith(HUB)]
    overrides = [word for word in words or [] if not word.startswith(HUB)]
    if odd := [word for word in overrides if "=" not in word]:
        raise ValueError(f"{odd[0]} is neither a setting, such as metrics=inception, nor hf:USER/NAME")
    if len(targets) > 1 or (not targets and output is None):
        raise ValueError("say where to publish: a new folder, -o FOLDER, or one repository on the hub, hf:USER/NAME")
    if private and not targets:
        raise ValueError("--private is for the hub: give hf:USER/NAME")
    repository, revision = hub.parsed(targets[0]) if targets else ("", None)
    if revision:
        raise ValueError(f"{targets[0]} has a revision, which the hub makes of what is uploaded: leave @{revision} out")
    if output is not None:
        folder.refuse_full(output)
    place = find(run)
    refuse_exported(place, "zoo publish")
    model = load(place, device=device)
    data, evaluation = _measurement(model, place, overrides)
    name = repository.rpartition("/")[2] if output is None else Path(os.path.abspath(output)).name

    with TemporaryDirectory() as temporary:
        part = Path(temporary, "part")
        dtype = _half() if half else None
        folder.write(part, weights_of(model, {}, critic=critic), card="", pictures={}, dtype=dtype)
        stored = load(part, device=device)  # what others get is what is measured and shown
        image, caption = picture(stored, data)
        about = _about(model, place, data, critic) | {"name": name, "load": targets[0] if targets else name}
        about |= {"bits": 16 if half else 32, "picture": caption}
        about |= _figures(stored, data, evaluation, device)
        if half and evaluation:
            about["figures_in_32_bits"] = _figures(model, data, evaluation, device)["figures"]
        about["data"]["licence"] = data_licence or about["data"]["licence"]
        about["licence"] = licence or about["data"]["licence"]
        weights = weights_of(model, about, critic=critic)
        text = card.card(about, classes_of(model), uses(model, about["load"]))
        target = output or Path(temporary, "whole")
        folder.write(target, weights, card=text, pictures={card.PICTURE: image} if image else {}, dtype=dtype)
        for line in card.summary(about):
            typer.echo(line)
        if repository:
            typer.echo(hub.upload(repository, target, private=private))
        if output is not None:
            size = (output / folder.TENSORS).stat().st_size / 1e6
            typer.echo(f"{output}: {size:.2f} MB of numbers; see {output / folder.CARD}")


def _measurement(model: Any, place: Path, overrides: list[str]) -> tuple[Any, Any]:
    """The data and the evaluation of a model's run; None in place of what is not there and not needed."""
    try:
        return of_run(model, place, overrides)
    except ValueError as error:
        metrics = [override for override in overrides if override.startswith("metrics=")]
        if metrics[-1:] == ["metrics=none"] or (not metrics and not model.config["metrics"]):
            return None, None
        raise ValueError(f"{error}; metrics=none publishes without figures") from error


def _about(model: Any, place: Path, data: Any, critic: bool) -> dict[str, Any]:
    """What a card says of a model, but for its figures."""
    from hydra.utils import get_class

    from zoo.run import checkpoint
    from zoo.use.publish import command, places, task, without

    if critic and not _of_critic(model):
        raise ValueError(f"{type(model).__name__} has no discriminator: leave --with-discriminator out")
    earlier = checkpoint.content(place) if place.is_dir() else None
    lacking = (
        []
        if earlier is None or not critic
        else [part for part in _of_critic(model) if not any(name.startswith(f"{part}.") for name in earlier.tensors)]
    )
    if lacking:
        raise ValueError(
            f"{place} has no {' and no '.join(lacking)}: publish it from its run, or leave --with-discriminator out"
        )
    stated = earlier.about if earlier else {}
    typed = model.config.get("callbacks", {}).get("report", {}).get("overrides")
    of_class: Any = get_class(model.config["data"]["_target_"])  # of those that zoo.run.trust knows
    of_data = {
        "name": of_class.name,
        "description": without(data.description, [*places(model.config)]) if data else of_class.name,
        "licence": of_class.licence.id,
        "words": of_class.licence.words,
    }
    return {
        "variant": type(model).__name__,
        "task": task(model),
        "images": model.images,
        "command": str(
            stated.get("command")
            or (command(model, typed, of_class.name) if isinstance(typed, list) else "not recorded")
        ),
        "seed": model.config["seed"],
        "versions": {library: version(library) for library in LIBRARIES},
        "data": of_data,
        "networks": sorted({*model.deployed(), *(_of_critic(model) if critic else [])}),
    }


def _of_critic(model: Any) -> list[str]:
    """The attributes of the critic's networks."""
    names = {module: name for name, module in model.named_children()}
    return [names[network] for network in model.critics()]


def _half() -> Any:
    import torch

    return torch.float16


def _figures(model: Any, data: Any, evaluation: Any, device: str) -> dict[str, Any]:
    """What the evaluation measures, as a card has it."""
    from zoo.metrics.estimate import WORDS
    from zoo.use.publish import places, without

    if evaluation is None:
        return {"figures": {}, "headline": [], "protocol": {}, "interval": "none"}
    with watched(model.preview, max(evaluation.numbers(data))) as preview:
        found = evaluation.evaluate(preview, data, device=device, protocol=generator(model))
    known = [*places(model.config)]
    ends = {name: dict(zip(("low", "high"), interval, strict=True)) for name, interval in found.intervals.items()}
    return {
        "figures": {name: {"value": value} | ends.get(name, {}) for name, value in found.values.items()},
        "headline": list(evaluation.headlines(found.values)),
        "protocol": {k: without(v, known) if isinstance(v, str) else v for k, v in found.protocol.items()},
        "interval": WORDS if ends else "none",
    }
