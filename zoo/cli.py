"""The `zoo` command: what comes after training, and before it. RUN is a run's folder or a checkpoint file.

Everything heavy is imported inside the commands, so that `zoo --help` and `zoo list` answer at once.
"""

import csv
import difflib
import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help=(__doc__ or "").splitlines()[0],
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder, or a checkpoint file")]
Device = Annotated[str, typer.Option(help="cpu, cuda, mps")]
CONF = Path(__file__).parent.parent / "conf"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


@app.command("list")
def list_() -> None:
    """Variants, data sets, metrics and recipes, as train.py takes them."""
    for group in ("model", "data", "loss", "regularizer", "augment", "metrics", "trainer", "logger", "experiment"):
        typer.echo(f"{group}=")
        for path in sorted((CONF / group).glob("*.yaml")):
            typer.echo(f"  {path.stem:<22}{_headline(path)}")
    typer.echo("\nexample: python train.py model=vanilla data=mnist max_images=1_000_000")


@app.command()
def sample(
    run: Run,
    number: Annotated[
        int | None,
        typer.Option("-n", "--number", min=1, help="how many images; of each class, where there are several"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="a picture, or a folder for one file an image")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="the first image's seed; the others' follow it")] = 0,
    label: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="of this class, by name or number; may be repeated")
    ] = None,
    all_labels: Annotated[bool, typer.Option("--all-labels", help="a row of each class")] = False,
    per_class: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="a labelled folder: N images of each class, and a manifest")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Draw images from a trained generator: a grid if OUTPUT has a picture's extension, else a folder of PNG files.

    By default 64 images into samples.png. Several classes: a row of 8 images for each, the same seeds in every row.
    --per-class 500 -o FOLDER: images for data=labelled_folder data.root=FOLDER, no seed twice.
    """
    import torch
    from torchvision.utils import make_grid, save_image

    from zoo.checkpoint import load

    if label and all_labels:
        raise ValueError("--all-labels means every class: leave --label out, or name several (--label 3 --label 7)")
    model = load(run, device=device)
    labels = range(len(_classes(model))) if all_labels or (per_class and not label) else _labels(model, label or [])
    if per_class:
        if number or all_labels or output is None or output.suffix.lower() in PICTURES:
            raise ValueError("--per-class=N means N images of each class: give a folder, -o FOLDER, and no -n")
        _write_labelled_folder(model, run, output, labels, per_class, seed)
        typer.echo(f"{per_class} images of each of {len(labels)} classes, and manifest.csv: {output}")
        return
    output = output or Path("samples.png")
    number = number or (8 if len(labels) > 1 else 64)
    rows = [model.sample(number, seed=seed, labels=[label] * number) for label in labels]
    rows = rows or [model.sample(number, seed=seed)]
    if output.suffix.lower() in PICTURES:
        images = torch.cat(rows)
        if images.shape[1] not in (1, 3):  # a grid is for looking at: grey or colour, without alpha
            images = images[:, : 1 if images.shape[1] == 2 else 3]
        output.parent.mkdir(parents=True, exist_ok=True)
        columns = number if len(rows) > 1 else round(number**0.5)
        save_image(make_grid(images, nrow=columns, padding=2, pad_value=0.5), output)
    else:
        names = [folder_name(_classes(model)[label]) for label in labels]
        for folder, images in zip(names or ["."], rows, strict=True):
            _write_images(images, output / folder, seed)
    of_what = f" of each of {', '.join(_classes(model)[label] for label in labels)}" if labels else ""
    typer.echo(f"{number} images{of_what}, seeds {seed} to {seed + number - 1}: {output}")


@app.command()
def translate(
    run: Run,
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="a folder of images, or one image")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="a folder, which may be new")],
    direction: Annotated[str, typer.Option(help="X->Y or Y->X (quoted, for the shell)")] = "X->Y",
    size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="first resize: the shorter side becomes N pixels")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Translate images of any size by a trained CycleGAN or pix2pix: OUT gets the same names, subfolders and sizes.

    Each image enters as the training images did: upright, with the channels that the model was trained on. A file that
    can't be read is named and left out; the exit status is then 1.
    """
    from zoo.checkpoint import load
    from zoo.data.folder import find_images
    from zoo.data.reading import UnreadableImage, colour

    if not source.exists():
        raise ValueError(f"{source} does not exist: give a folder of images, or one image")
    folder, names = (source, find_images(source)) if source.is_dir() else (source.parent, [source.name])
    if not names:
        raise ValueError(f"{source} has no images")
    inputs = {(folder / name).resolve() for name in names}
    targets = {name: output / writable(name) for name in names}
    overwritten = [str(target) for target in targets.values() if target.resolve() in inputs]
    if overwritten or (source.is_dir() and output.resolve().is_relative_to(source.resolve())):
        raise ValueError(f"-o {output} lies within {source}, whose images stay as they are: give another folder")
    if output.is_file():
        raise ValueError(f"-o {output} is a file: give a folder, the translations keep the names of the images")
    written = Counter(targets.values())
    if twice := [name for name, target in targets.items() if written[target] > 1]:
        raise ValueError(f"{', '.join(twice)} would all be written as {targets[twice[0]]}: rename one, or move it away")

    model: Any = load(run, device=device)
    if not hasattr(model, "translate"):
        raise ValueError(f"{type(model).__name__} makes images from nothing: zoo translate is for cyclegan and pix2pix")
    directions = {"X->Y": model.hparams["channels_x"], "Y->X": model.hparams["channels_y"]}
    if direction not in directions:
        raise ValueError(f"--direction={direction} must be {' or '.join(directions)}")
    background = colour(model.config["data"].get("background", "white"))  # as the training images had it
    bad = []
    with typer.progressbar(names, label=direction) as progress:
        for name in progress:
            try:
                image = _read(folder / name, channels=directions[direction], size=size, background=background)
                _write(model.translate(image, direction), targets[name])
            except UnreadableImage as error:
                bad.append(str(error))
            except OSError as error:  # of writing
                bad.append(f"{targets[name]}: {error.strerror or error}")
    for sentence in bad:
        typer.echo(sentence, err=True)
    typer.echo(f"{len(names) - len(bad)} of {len(names)} images translated {direction}: {output}")
    if bad:
        raise typer.Exit(1)


@app.command()
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

    Super-resolution: --data FOLDER prints a table, each image of it and their mean, beside bicubic enlargement.
    """
    from hydra.utils import instantiate

    from zoo import checkpoint
    from zoo.config import trusted

    path = checkpoint.find(run)
    model: Any = checkpoint.load(path, device=device)
    if ppl is not None and not hasattr(model, "styles"):
        raise ValueError(f"{type(model).__name__} has no styles: --ppl is for model=stylegan_lite")
    if images is not None:
        _evaluate_images(model, path, images, overrides or [], device)
        return
    config = _with(checkpoint.read(path)["zoo"]["config"], overrides or [])
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
    result = evaluation.evaluate(
        model.preview, data, device=device, protocol={"generator": "EMA" if model.averaged else "last"}
    )
    values, protocol = result.values, result.protocol
    if ppl is not None:
        values |= _path_length(model, evaluation.extractor, ppl)
        protocol["paths"] = f"{ppl}, in W, from their beginnings, step 1e-4, fixed noise"
    typer.echo(f"{path}, {model.images:,} images")
    for name, value in (values | protocol).items():
        typer.echo(f"  {name:<20} {value:.6g}" if isinstance(value, float) else f"  {name:<20} {value}")


def _path_length(model: Any, extractor: Any, paths: int) -> dict[str, float]:
    """The perceptual path length of a style-based generator, between the styles of two seeds of one class."""
    from zoo.metrics.path_length import perceptual_path_length

    classes = len(model.hparams["classes"] or [])

    def ends(path: Any) -> tuple[Any, Any]:
        labels = path % classes if classes else None
        return model.styles(2 * path, labels), model.styles(2 * path + 1, labels)

    value = perceptual_path_length(ends, model.from_styles, extractor, num=paths, batch_size=128)
    return {f"ppl_{extractor.name}": value}


def _evaluate_images(model: Any, path: Path, folder: Path, overrides: list[str], device: str) -> None:
    """The table of a folder of high-resolution images, shrunk by the literature's bicubic and enlarged again."""
    from types import SimpleNamespace

    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from zoo import checkpoint
    from zoo.config import plain
    from zoo.data import degradation

    if not hasattr(model, "upscale"):
        raise ValueError(f"{type(model).__name__} enlarges no images: --data is for super-resolution, model=srgan")
    scale = model.hparams["scale"]
    config = checkpoint.read(path)["zoo"]["config"]
    conf = OmegaConf.load(CONF / "data" / "super_resolution_folder.yaml")
    measured = OmegaConf.load(CONF / "metrics" / "super_resolution.yaml")
    measured.split = "train"
    settings = OmegaConf.create({"seed": 0, "cache_dir": config["cache_dir"], "data": conf})
    settings.data.update(root=str(folder), test_fraction=0.0, channels=model.hparams["channels"])
    settings.data.update(scale=scale, patch_size=scale, batch_size=1, defaults=None)
    config = _with(
        {"data": plain(settings)["data"], "metrics": plain(OmegaConf.create({"metrics": measured}))["metrics"]},
        overrides,
    )
    del config["data"]["defaults"]
    data, evaluation = instantiate(config["data"], _convert_="all"), instantiate(config["metrics"], _convert_="all")
    evaluation.prepare()
    result = evaluation.evaluate(model.preview, data, device=device, protocol={"generator": "EMA"})

    def bicubic(batch: Any) -> Any:
        levels = ((batch.low.cpu() + 1) * 127.5).round().byte()
        fake = degradation.enlarge(levels, scale).float() / 127.5 - 1
        return {"samples": SimpleNamespace(fake=fake, target=batch.high.cpu())}

    plainly = evaluation.evaluate(bicubic, data, device="cpu")
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


@app.command()
def upscale(
    run: Run,
    source: Annotated[Path, typer.Argument(metavar="IMAGE", help="an image, or a folder of images")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="a picture, or a folder where IMAGE is one")
    ] = None,
    tile: Annotated[int, typer.Option(min=1, help="side of a tile in pixels of IMAGE: less needs less memory")] = 192,
    device: Device = "cpu",
) -> None:
    """Enlarge an image, or each image of a folder, with a trained super-resolution network.

    PNG and TIFF keep 16 bit and alpha. A file of a folder that can't be read does not hold up the rest.
    """
    from zoo.checkpoint import load
    from zoo.data.folder import find_images
    from zoo.upscale import FORMATS, enlarge_file

    model: Any = load(run, device=device)
    if not hasattr(model, "upscale"):
        raise ValueError(f"{type(model).__name__} enlarges nothing: train model=srgan")
    if not source.exists():
        raise ValueError(f"{source} does not exist: give an image, or a folder of images")
    if not source.is_dir():
        target = output or source.with_name(f"{source.stem}-x{model.hparams['scale']}.png")
        with _bar(source.name) as advance:
            width, height = enlarge_file(model, source, target, tile=tile, progress=advance)
        typer.echo(f"{target}: {width}x{height}")
        return
    if output is None or output.suffix.lower() in PICTURES:
        raise ValueError(f"{source} is a folder: give one for the results too, -o FOLDER")
    files = find_images(source)
    if not files:
        raise ValueError(f"{source} holds no images")
    failed = []
    with _bar(f"{len(files)} images") as advance:
        for done, name in enumerate(files):
            advance(done, len(files))
            target = output / name
            if target.suffix.lower() not in FORMATS:
                target = target.with_name(f"{target.name}.png")
            try:
                enlarge_file(model, source / name, target, tile=tile)
            except ValueError as error:
                failed.append(str(error))
        advance(len(files), len(files))
    typer.echo(f"{len(files) - len(failed)} of {len(files)} images enlarged by {model.hparams['scale']}: {output}")
    if failed:
        typer.echo("\n".join(["not enlarged:", *(f"  {sentence}" for sentence in failed)]), err=True)
        raise typer.Exit(1)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, which is told how many are done, of how many; elsewhere nothing."""
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@app.command("check-data")
def check_data(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="a folder of images")],
    image_size: Annotated[int, typer.Option(min=1, help="the size to train at")] = 64,
) -> None:
    """Look through a folder of images before hours are spent: what is broken, too small or there twice."""
    from zoo.data.check import check_folder

    report = check_folder(str(folder), image_size=image_size)
    typer.echo("\n".join(report.lines()))
    if not report.ok:
        raise typer.Exit(1)


def _classes(model: Any) -> list[str]:
    """The names of a model's classes, by label."""
    names = model.hparams.get("classes")
    if not names or model.hparams.get("condition_dim"):
        raise ValueError(
            f"{type(model).__name__} makes images without classes: --label, --all-labels and --per-class are for a "
            "class-conditional model, such as model=cgan trained on labelled data"
        )
    return names


def _labels(model: Any, asked: list[str]) -> list[int]:
    """The labels that are meant by names or numbers; a class that is called 7 goes before the one at position 7."""
    return [_label(name, _classes(model)) for name in asked]


def _label(asked: str, classes: list[str]) -> int:
    if asked in classes:
        return classes.index(asked)
    if asked.isdecimal() and int(asked) < len(classes):
        return int(asked)
    lower = [name.lower() for name in classes]
    near = difflib.get_close_matches(asked.lower(), lower, n=1)
    hint = f": did you mean {classes[lower.index(near[0])]}?" if near else ""
    shown = [f"{label} {name}" if name != str(label) else name for label, name in enumerate(classes)]
    listed = ", ".join(shown if len(shown) <= 20 else [*shown[:20], "..."])
    raise ValueError(f"--label={asked} is none of the {len(classes)} classes ({listed}){hint}")


def folder_name(name: str) -> str:
    """A class's name as a folder's: `T-shirt/top` is `T-shirt_top`."""
    return re.sub(r'^\.|[/\\:*?"<>|\0]', "_", name)


def writable(name: str) -> str:
    """A translation's name: that of its input, with .png after extensions that are not written here."""
    return name if name.lower().endswith(PICTURES) else f"{name}.png"


def _read(path: Path, *, channels: int, size: int | None, background: tuple[int, int, int]) -> Any:
    """An image file as float32 [1, channels, H, W] in [-1, 1], transparency laid over the background."""
    import numpy as np
    import torch

    from zoo.batch import from_bytes
    from zoo.data.reading import MAX_PIXELS, fit, opened, with_channels

    with opened(path, max_pixels=MAX_PIXELS) as image:
        image = with_channels(image, channels, background)
        if size is not None:
            scale = size / min(image.size)
            image = fit(image, (round(image.height * scale), round(image.width * scale)), "stretch", background)
        pixels = torch.from_numpy(np.array(image))  # [H, W] or [H, W, C]
    return from_bytes(pixels[None, None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)[None])


def _write(images: Any, path: Path) -> None:
    """The image [1, C, H, W] in [-1, 1] as a file; formats without transparency get the colours alone."""
    from PIL import Image

    from zoo.batch import to_bytes
    from zoo.data.reading import MODES

    pixels = to_bytes(images)[0].permute(1, 2, 0).cpu().numpy()  # [H, W, C]
    channels = pixels.shape[2]
    picture = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    if path.suffix.lower() in (".jpg", ".jpeg", ".bmp"):
        picture = picture.convert(MODES[1 if channels < 3 else 3])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=95)


def _write_images(images: Any, folder: Path, seed: int) -> None:
    """Images [N, C, H, W] in [0, 1] as FOLDER/<seed>.png, from `seed` on."""
    from torchvision.transforms.functional import to_pil_image

    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images.mul(255).round().byte(), start=seed):
        to_pil_image(image).save(folder / f"{i:06d}.png")


def _write_labelled_folder(model: Any, run: Path, folder: Path, labels: Sequence[int], n: int, seed: int) -> None:
    """FOLDER/<class>/<seed>.png: n images of each class, label y's of the seeds from `seed` + y * n on.

    manifest.csv names each image with its label, class and seed; manifest.json says where they come from.
    """
    import hashlib

    from zoo import checkpoint

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already, and not empty: give a new folder, or remove it")
    classes, path, labels = _classes(model), checkpoint.find(run), list(dict.fromkeys(labels))
    names = [folder_name(classes[label]) for label in labels]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"several classes would share the folder {', '.join(sorted(twice))}: take them one by one, --label"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    of_some = [] if len(labels) == len(classes) else [f"--label={classes[label]}" for label in labels]
    command = ["zoo", "sample", str(run), f"--per-class={n}", f"--seed={seed}", *of_some, "-o", str(folder)]
    origin = {
        "command": shlex.join(command),
        "checkpoint": str(path),
        "checkpoint_sha256": digest,
        "variant": type(model).__name__,
        "trained_for": f"{model.images} images",
        "classes": classes,
    }
    (folder / "manifest.json").write_text(json.dumps(origin, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        manifest = csv.writer(file)
        manifest.writerow(["path", "label", "class", "seed"])
        for label in labels:
            of_class, first = folder_name(classes[label]), seed + label * n
            for start in range(first, first + n, 256):  # no more than these in memory
                size = min(256, first + n - start)
                _write_images(model.sample(size, seed=start, labels=[label] * size), folder / of_class, start)
                for i in range(start, start + size):
                    manifest.writerow([f"{of_class}/{i:06d}.png", label, classes[label], i])


def _headline(path: Path) -> str:
    """The first comment of a YAML file that is more than a directive."""
    comments = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
    return next((comment for comment in comments if not comment.startswith("@package")), "")


def _with(config: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A run's settings with `metrics=inception` and `metrics.num_fake=100` applied, held to the names that exist."""
    from omegaconf import OmegaConf

    from zoo.config import check, plain

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


def main() -> None:
    """The entry point: a mistake of the user's is a sentence, not a traceback."""
    from zoo.config import readable_errors

    with readable_errors("zoo"):
        app()


if __name__ == "__main__":
    main()
