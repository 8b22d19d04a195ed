"""zoo evaluate."""

import shlex
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.common import Device, Run, refuse_exported, watched


def evaluate(
    run: Run,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OTHER]... [SETTINGS]...",
            help="other runs, to say whether they differ; settings to change, such as metrics.num_fake=10_000 or "
            "metrics=inception",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="super-resolution: measure on the images in it")
    ] = None,
    ppl: Annotated[
        int | None,
        typer.Option("--ppl", min=1, metavar="N", help="models with styles: the path length of N pairs"),
    ] = None,
    closest: Annotated[
        Path | None,
        typer.Option("--nearest", metavar="FILE", help="a picture of fakes beside their nearest training images"),
    ] = None,
    number: Annotated[int, typer.Option("-n", min=1, max=256, help="pairs in that picture, the closest first")] = 16,
    protocols: Annotated[
        bool, typer.Option("--protocols", help="one table of the distance by the protocols of the literature")
    ] = False,
    json_: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="of --protocols: write it as JSON; -: to stdout, alone")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Measure a trained generator once more, by the protocol of its run, and print every value with that protocol.

    RUN OTHER: both on the data and by the metrics of RUN, side by side, and whether they differ.

    Super-resolution: --data FOLDER prints a table, each image of it and their mean, beside bicubic enlargement. An
    image that can't be measured is named and left out; the exit status is then 1.

    --protocols: one set of fakes against training and test images, 5,000 to 50,000 of them (metrics.num_fake=N: N at
    most), by each way of resizing, rounded and not, and extrapolated to infinitely many.
    """
    from zoo.cli import differ
    from zoo.cli.protocols import by_protocols
    from zoo.game.abilities import Styles, Upscales
    from zoo.loading import load
    from zoo.weights.names import find

    others, overrides = differ.parted(words or [])
    path = find(run)
    refuse_exported(path, "zoo evaluate")
    model: Any = load(path, device=device)
    compared = []
    for other in others:
        its = differ.found(other)
        refuse_exported(its, "zoo evaluate")
        compared.append((its, load(its, device=device)))
    for one in [model, *(another for _, another in compared)]:
        if ppl is not None and not isinstance(one, Styles):
            raise ValueError(f"{type(one).__name__} has no styles to measure paths between: leave --ppl out")
    if compared and (images is not None or closest is not None):
        raise ValueError(f"--{'data' if images else 'nearest'} is of one model: leave {others[0]} out")
    if len(compared) >= len(differ.LABELS):
        raise ValueError(f"{len(compared) + 1} runs are too many: give {len(differ.LABELS)} at most")
    if images is not None and not isinstance(model, Upscales):
        raise ValueError(f"{type(model).__name__} enlarges no images: --data is for super-resolution")
    if protocols and (images is not None or ppl is not None or closest is not None or compared):
        raise ValueError("--protocols is a table of its own, of one model: leave --data, --ppl, --nearest, others out")
    if json_ is not None and not protocols:
        raise ValueError(f"--json {json_} is for --protocols: add it, or leave --json out")
    if images is not None:
        _evaluate_images(model, path, images, overrides, device)
        return
    data, evaluation = of_run(model, path, overrides)
    if evaluation is None:
        again = f"zoo evaluate {shlex.quote(str(run))} metrics=inception"
        raise ValueError(f"{path} was trained with metrics=none; name some, as in: {again}")
    if protocols:
        by_protocols(model, path, data, evaluation, overrides, device, json_)
        return
    for its, another in compared:
        differ.check(another, its, data, evaluation, path, device)
    picture = _picture(closest, evaluation, data) if closest is not None else None
    measured = [
        differ.Measured(place, one, _measured(one, data, evaluation, ppl, device))
        for place, one in [(path, model), *compared]
    ]
    if compared:
        differ.show(measured, evaluation)
        return
    result = measured[0].result
    typer.echo(f"{path}, {model.images:,} images")
    for name, value in result.values.items():
        low_high = "  [{:.6g}, {:.6g}]".format(*result.intervals[name]) if name in result.intervals else ""
        typer.echo(f"  {name:<20} {value:.6g}{low_high}")
    for name, setting in result.protocol.items():
        typer.echo(f"  {name:<20} {setting}")
    if picture and closest is not None:
        typer.echo(picture(model, result, closest, number, device))


def _measured(model: Any, data: Any, evaluation: Any, ppl: int | None, device: str) -> Any:
    """What the evaluation finds of a model, with the path length of so many pairs."""
    from zoo.metrics.evaluation import Evaluation
    from zoo.metrics.path_length import PathLength

    if ppl is None:
        with watched(model.preview, max(evaluation.numbers(data))) as preview:
            return evaluation.evaluate(preview, data, device=device, protocol=generator(model))
    if not isinstance(evaluation, Evaluation):
        raise ValueError("--ppl compares features: give metrics that have some, such as metrics=inception")
    evaluation.metrics.append(PathLength(model, evaluation.extractor, ppl))
    try:
        with watched(model.preview, max(evaluation.numbers(data))) as preview:
            return evaluation.evaluate(preview, data, device=device, protocol=generator(model))
    finally:
        evaluation.metrics.pop()


def _picture(path: Path, evaluation: Any, data: Any) -> Any:
    """Has the evaluation look at training images, and gives what draws the closest pairs once it has.

    Raises:
        ValueError: where there is nothing to look at, or nowhere to write.
    """
    from zoo.metrics.distribution import Distribution
    from zoo.metrics.memorisation import Memorisation, of_new_images
    from zoo.use.pictures import check_picture

    check_picture(path)
    of_features = next((metric for metric in evaluation.metrics if isinstance(metric, Distribution)), None)
    if of_features is None:
        raise ValueError("--nearest compares features: give metrics that have some, such as metrics=inception")
    if not of_new_images(data):
        raise ValueError("--nearest is for generators of new images: what is made of images is near to these")
    looks: Any = of_features.chosen.setdefault("memorisation", Memorisation())

    def draw(model: Any, result: Any, path: Path, number: int, device: str) -> str:
        import torch

        from zoo.metrics.evaluator import on, undisturbed
        from zoo.metrics.memorisation import nearest, rows_of
        from zoo.metrics.side import positions
        from zoo.use.pictures import save, sheet

        fake = result.features["samples"].fake.cpu()
        distance, index = nearest(fake, looks.training(data, of_features.extractor, device))
        closest = distance.argsort(stable=True)[:number]
        seeds = positions(result.protocol["num_fake"], of_features.prc_images)[closest]
        with undisturbed(torch.device(device)):
            batches = rows_of(data, evaluation.split, seeds)
            fakes = [model.preview(on(batch, torch.device(device)))["samples"].fake[0].cpu() for batch in batches]
        reals = [batch.image[0] for batch in rows_of(data, "train", index[closest])]
        words = [f"seed {seed}: {d:.3g}" for seed, d in zip(seeds.tolist(), distance[closest].tolist(), strict=True)]
        save(sheet(list(zip(fakes, reals, strict=True)), left=words, above=["fake", "training"]), path)
        return (
            f"{path}: the {len(fakes)} fakes nearest to a training image, of {len(fake)}, with the distance in features"
        )

    return draw


def of_run(model: Any, path: Path, overrides: list[str]) -> tuple[Any, Any]:
    """The data and the evaluation of a trained model's run, with settings changed; None where metrics=none.

    Raises:
        ValueError: for settings, of the file or typed, of which nothing can be built, and for data that are not there.
    """
    try:
        stored = {part: completed(part, model.config, overrides) for part in ("data", "metrics")}
    except ValueError as error:
        raise ValueError(f"{path} is refused: {error}") from None
    return _built(with_overrides(stored, model.config["seed"], overrides), path)


def metrics_of(config: dict[str, Any], path: Path) -> Any:
    """The evaluation of a run's settings, which measures nothing yet; None where metrics=none.

    Raises:
        ValueError: for settings of which nothing can be built.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    stored = completed("metrics", config, [])
    try:
        return instantiate(stored, _convert_="all") if stored else None
    except InstantiationException as error:
        raise ValueError(f"{path} has settings of which nothing can be built: {error.__cause__ or error}") from error


def generator(model: Any) -> dict[str, str]:
    """Which of a model's generators is measured, for the protocol: a weights folder holds the averages alone."""
    return {"generator": "EMA" if model.averaged or model.config.get("averaged") else "last"}


def _evaluate_images(model: Any, path: Path, folder: Path, overrides: list[str], device: str) -> None:
    """The table of a folder of high-resolution images, shrunk by the literature's bicubic and enlarged again.

    Images that are broken or too small are left out, and named behind it.
    """
    from zoo.batch import Preview, from_bytes, to_bytes
    from zoo.data import degradation
    from zoo.run.config import plain

    data_settings = plain(composed("data", "super_resolution_folder", 0, overrides).data)
    data_settings |= {"root": str(folder), "test_fraction": 0.0, "channels": model.channels, "scale": model.scale}
    data_settings |= {"patch_size": model.scale, "batch_size": 1, "on_error": "skip"}
    metrics = plain(composed("metrics", "super_resolution", 0, overrides).metrics) | {"split": "train"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is left out, which is said below
        data, evaluation = _built(with_overrides({"data": data_settings, "metrics": metrics}, 0, overrides), path)
    with watched(model.preview, max(evaluation.numbers(data))) as preview:
        result = evaluation.evaluate(preview, data, device=device, protocol={"generator": "EMA"}, skip=True)

    def bicubic(batch: Any) -> dict[str, Preview]:
        fake = from_bytes(degradation.enlarge(to_bytes(batch.low.cpu()), model.scale))
        return {"samples": Preview(fake, target=batch.high.cpu())}

    plainly = evaluation.evaluate(bicubic, data, device="cpu", skip=True)
    names = list(result.values)
    width = max(len("bicubic, mean"), *(len(name) for name in result.images))
    typer.echo(f"{path}, {model.images:,} images, x{model.scale}")
    typer.echo(f"{'':{width}}" + "".join(f"{name:>10}" for name in names))
    rows = [*result.images.items(), ("mean", result.values), ("bicubic, mean", plainly.values)]
    for name, row in rows:
        figures = (f"{row[key]:>10.4f}" if key.startswith("ssim") else f"{row[key]:>10.2f}" for key in names)
        typer.echo(f"{name:{width}}" + "".join(figures))
    for name, value in result.protocol.items():
        typer.echo(f"  {name:<20} {value}")
    unreadable = {name: why.removeprefix(f"{data.root / name}: ") for name, why in data.unreadable.items()}
    for name, why in sorted((unreadable | result.left_out).items()):
        typer.echo(f"not measured: {name}: {why}", err=True)
    if unreadable or result.left_out:
        raise typer.Exit(1)


def _built(config: dict[str, Any], path: Path) -> tuple[Any, Any]:
    """The data module, ready to be read, and the evaluation of settings that came, in part, with a checkpoint."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        data = instantiate(config["data"], _convert_="all")
        evaluation = instantiate(config["metrics"], _convert_="all") if config["metrics"] else None
    except InstantiationException as error:
        raise ValueError(f"{path} has settings of which nothing can be built: {error.__cause__ or error}") from error
    data.prepare_data()
    data.setup("validate")
    return data, evaluation


def composed(group: str, name: str, seed: int, overrides: list[str]) -> Any:
    """The project's settings with a group's choice, the seed of a run, and the user's cache."""
    from zoo.run.config import compose
    from zoo.run.grammar import value_of

    composed = compose(f"{group}={name}")
    composed.seed, composed.cache_dir = seed, value_of("cache_dir", overrides) or composed.cache_dir
    return composed


def completed(part: str, config: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A checkpoint's settings of data or metrics, held to names and types that the project's own have.

    Those that were not there yet when they were stored have their defaults, and so have those that say where to write.
    """
    from zoo.run import trust
    from zoo.run.config import check, choices, flatten, plain

    def targets(settings: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in flatten(settings).items() if key.endswith("_target_")}

    stored = config[part]
    for name in choices(part) if stored else ():
        current = composed(part, name, config["seed"], overrides)
        defaults = plain(current[part])
        if targets(defaults) == targets(stored):
            check({part: stored}, {part: defaults})
            users = {*trust.of_the_user(current), "data.num_workers"}
            own = {key for key, value in stored.items() if trust.is_the_users(f"{part}.{key}", value, users)}
            return defaults | {key: value for key, value in stored.items() if key not in own}
    return stored


def with_overrides(config: dict[str, Any], seed: int, overrides: list[str]) -> dict[str, Any]:
    """A run's settings with `metrics=inception` and `metrics.num_fake=100` applied, held to the names that exist."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from zoo.run.config import check, choices, plain

    for override in overrides:
        group, _, name = override.partition("=")
        if group == "metrics":
            if name not in (names := choices("metrics")):
                raise ValueError(f"there is no {override}: choose from {', '.join(names)}")
            config = config | {"metrics": plain(composed("metrics", name, seed, overrides).metrics)}
    changed = OmegaConf.create(config)
    for override in overrides:
        if override.startswith(("metrics=", "cache_dir=")):
            continue
        try:
            changed.merge_with_dotlist([override])
            plain(changed)
        except (YAMLError, OmegaConfBaseException, ValueError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(
                f"{override} can't be read as a setting: give NAME=VALUE, lists as in metrics.measures=[fid,kid]"
            ) from error
    check(plain(changed), config)
    return plain(changed)
