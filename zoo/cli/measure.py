"""zoo evaluate."""

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.common import CONF, Device, Run


def evaluate(
    run: Run,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="settings to change, such as metrics.num_fake=10_000 or metrics=inception"),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="super-resolution: measure on the images in it")
    ] = None,
    ppl: Annotated[
        int | None,
        typer.Option("--ppl", min=1, metavar="N", help="stylegan_lite: the path length of N pairs"),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Measure a trained generator once more, by the protocol of its run, and print every value with that protocol.

    Super-resolution: --data FOLDER prints a table, each image of it and their mean, beside bicubic enlargement. An
    image that can't be measured is named and left out; the exit status is then 1.
    """
    from hydra.utils import instantiate

    from zoo.run import checkpoint
    from zoo.run.config import trusted

    path = checkpoint.find(run)
    model: Any = checkpoint.load(path, device=device)
    if ppl is not None and not hasattr(model, "styles"):
        raise ValueError(f"{type(model).__name__} has no styles: --ppl is for model=stylegan_lite")
    if images is not None:
        _evaluate_images(model, path, images, overrides or [], device)
        return
    config = checkpoint.read(path)["zoo"]["config"]
    config = _with(config | {"data": _completed(config["data"])}, overrides or [])
    for part in ("data", "metrics"):  # a file from elsewhere must not choose what is run
        trusted(config[part])
    if not config["metrics"]:
        raise ValueError(
            f"{path} was trained with metrics=none; name some, as in: zoo evaluate {run} metrics=inception"
        )
    data, evaluation = instantiate(config["data"], _convert_="all"), instantiate(config["metrics"], _convert_="all")
    data.prepare_data()
    data.setup("validate")
    evaluation.prepare()
    length = {} if ppl is None else _path_length(model, evaluation.extractor, ppl)
    result = evaluation.evaluate(
        model.preview, data, device=device, protocol={"generator": "EMA" if model.averaged else "last"}
    )
    values, protocol = result.values | length, result.protocol
    if ppl is not None:
        protocol["paths"] = f"{ppl}, in W, from their beginnings, step 1e-4, fixed noise"
    typer.echo(f"{path}, {model.images:,} images")
    for name, value in (values | protocol).items():
        typer.echo(f"  {name:<20} {value:.6g}" if isinstance(value, float) else f"  {name:<20} {value}")


def _path_length(model: Any, extractor: Any, paths: int) -> dict[str, float]:
    """The perceptual path length of a style-based generator, between the styles of two seeds of one class."""
    import torch

    from zoo.metrics.path_length import perceptual_path_length

    if not extractor.name and model.hparams["channels"] not in (1, 3):
        raise ValueError("ppl is of grey or colour images: leave --ppl out")
    classes = len(model.hparams["classes"] or [])
    path = torch.arange(paths)
    labels = path % classes if classes else None
    with torch.no_grad():
        ends = model.styles(2 * path, labels), model.styles(2 * path + 1, labels)
    return perceptual_path_length(ends, model.from_styles, extractor, batch_size=128)


def _evaluate_images(model: Any, path: Path, folder: Path, overrides: list[str], device: str) -> None:
    """The table of a folder of high-resolution images, shrunk by the literature's bicubic and enlarged again.

    Images that are broken or too small are left out, and named behind it.
    """
    from types import SimpleNamespace

    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from zoo.data import degradation
    from zoo.run import checkpoint
    from zoo.run.config import plain

    if not hasattr(model, "upscale"):
        raise ValueError(f"{type(model).__name__} enlarges no images: --data is for super-resolution, model=srgan")
    scale = model.hparams["scale"]
    config = checkpoint.read(path)["zoo"]["config"]
    conf = OmegaConf.load(CONF / "data" / "super_resolution_folder.yaml")
    measured = OmegaConf.load(CONF / "metrics" / "super_resolution.yaml")
    measured.split = "train"
    settings = OmegaConf.create({"seed": 0, "cache_dir": config["cache_dir"], "data": conf})
    settings.data.update(root=str(folder), test_fraction=0.0, channels=model.hparams["channels"])
    settings.data.update(scale=scale, patch_size=scale, batch_size=1, on_error="skip", defaults=None)
    config = _with(
        {"data": plain(settings)["data"], "metrics": plain(OmegaConf.create({"metrics": measured}))["metrics"]},
        overrides,
    )
    del config["data"]["defaults"]
    data, evaluation = instantiate(config["data"], _convert_="all"), instantiate(config["metrics"], _convert_="all")
    evaluation.prepare()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is left out, which is said below
        data.setup("validate")
    result = evaluation.evaluate(model.preview, data, device=device, protocol={"generator": "EMA"}, skip=True)

    def bicubic(batch: Any) -> Any:
        levels = ((batch.low.cpu() + 1) * 127.5).round().byte()
        fake = degradation.enlarge(levels, scale).float() / 127.5 - 1
        return {"samples": SimpleNamespace(fake=fake, target=batch.high.cpu())}

    plainly = evaluation.evaluate(bicubic, data, device="cpu", skip=True)
    names = list(result.values)
    width = max(len("bicubic, mean"), *(len(name) for name in result.images))
    typer.echo(f"{path}, {model.images:,} images, x{scale}")
    typer.echo(f"{'':{width}}" + "".join(f"{name:>10}" for name in names))
    rows = [*result.images.items(), ("mean", result.values), ("bicubic, mean", plainly.values)]
    for name, row in rows:
        typer.echo(
            f"{name:{width}}" + "".join(f"{row[k]:>10.4f}" if "ssim" in k else f"{row[k]:>10.2f}" for k in names)
        )
    for name, value in result.protocol.items():
        typer.echo(f"  {name:<20} {value}")
    unreadable = {name: why.removeprefix(f"{data.root / name}: ") for name, why in data.unreadable.items()}
    for name, why in sorted((unreadable | result.left_out).items()):
        typer.echo(f"not measured: {name}: {why}", err=True)
    if unreadable or result.left_out:
        raise typer.Exit(1)


def _completed(data: dict[str, Any]) -> dict[str, Any]:
    """The stored settings of data, and the defaults of those that were not there yet when they were stored."""
    from omegaconf import OmegaConf

    for path in sorted((CONF / "data").glob("*.yaml")):
        defaults: Any = OmegaConf.to_container(OmegaConf.load(path))
        if defaults["_target_"] == data["_target_"]:
            return {key: value for key, value in defaults.items() if key != "defaults"} | data
    return data


def _with(config: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A run's settings with `metrics=inception` and `metrics.num_fake=100` applied, held to the names that exist."""
    from omegaconf import OmegaConf

    from zoo.run.config import check, plain

    changed = OmegaConf.create(config)
    for override in overrides:
        if override.startswith("metrics="):
            path = CONF / "metrics" / f"{override.removeprefix('metrics=')}.yaml"
            if not path.is_file():
                raise ValueError(
                    f"there is no {override}: choose from {', '.join(p.stem for p in path.parent.glob('*'))}"
                )
            changed.metrics = OmegaConf.load(path)
    defaults = plain(changed)
    changed.merge_with_dotlist([override for override in overrides if not override.startswith("metrics=")])
    check(plain(changed), defaults)
    return plain(changed)
