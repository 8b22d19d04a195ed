"""The `zoo` command: what comes after training, and before it. RUN is a run's folder or a checkpoint file.

Everything heavy is imported inside the commands, so that `zoo --help` and `zoo list` answer at once.
"""

import csv
import difflib
import json
import re
import shlex
import warnings
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
Seeds = Annotated[str, typer.Option(metavar="SEEDS", help="numbers and ranges, such as 0-7,12")]
Label = Annotated[str | None, typer.Option(metavar="CLASS", help="of this class, by name or number")]
Truncation = Annotated[
    float | None, typer.Option(metavar="PSI", help="draw styles towards their mean: 1 not at all, 0 all the way")
]
Layers = Annotated[
    list[str] | None,
    typer.Option(metavar="LAYERS", help="coarse, middle, fine, all, or numbers such as 2-5; may be repeated"),
]
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
    seeds: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="these seeds instead of -n and --seed, such as 0-7,12")
    ] = None,
    truncation: Truncation = None,
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
    from zoo.pictures import make_folder

    if label and all_labels:
        raise ValueError("--all-labels means every class: leave --label out, or name several (--label 3 --label 7)")
    if (seeds is not None or truncation is not None) and per_class:
        raise ValueError("--per-class draws whole data sets: leave --seeds and --truncation out")
    if seeds is not None and (number or seed):
        raise ValueError(f"--seeds={seeds} says which images: leave -n and --seed out")
    model = load(run, device=device)
    labels = range(len(_classes(model))) if all_labels or (per_class and not label) else _labels(model, label or [])
    if per_class:
        if number or all_labels or output is None or output.suffix.lower() in PICTURES:
            raise ValueError("--per-class=N means N images of each class: give a folder, -o FOLDER, and no -n")
        _write_labelled_folder(model, run, output, labels, per_class, seed)
        typer.echo(f"{per_class} images of each of {len(labels)} classes, and manifest.csv: {output}")
        return
    output = output or Path("samples.png")
    make_folder(output)
    number = number or (8 if len(labels) > 1 else 64)
    wanted = _numbers(seeds, "--seeds") if seeds is not None else list(range(seed, seed + number))
    if seeds is not None or truncation is not None:
        rows = [_draw(model, wanted, label, truncation) for label in [*labels] or [None]]
    else:
        rows = [model.sample(number, seed=seed, labels=[label] * number) for label in labels]
        rows = rows or [model.sample(number, seed=seed)]
    if output.suffix.lower() in PICTURES:
        images = torch.cat(rows)
        if images.shape[1] not in (1, 3):  # a grid is for looking at: grey or colour, without alpha
            images = images[:, : 1 if images.shape[1] == 2 else 3]
        columns = len(wanted) if len(rows) > 1 else round(len(wanted) ** 0.5)
        save_image(make_grid(images, nrow=columns, padding=2, pad_value=0.5), output)
    else:
        names = [folder_name(_classes(model)[label]) for label in labels]
        for folder, images in zip(names or ["."], rows, strict=True):
            _write_images(images, output / folder, wanted)
    of_what = f" of each of {', '.join(_classes(model)[label] for label in labels)}" if labels else ""
    which = seeds or f"{seed} to {seed + number - 1}"
    typer.echo(f"{len(wanted)} images{of_what}, seeds {which}: {output}")


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
    targets = {name: output / writable(name) for name in names}
    check_output(source, folder, output, targets)

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
def interpolate(
    run: Run,
    seeds: Seeds = "0-5",
    space: Annotated[
        str | None, typer.Option(metavar="w|z", help="where to walk; w, the styles, where the model has them")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="steps from each seed to the next")] = 30,
    loop: Annotated[
        bool, typer.Option("--loop", help="walk back to the first seed, so that the film has no end")
    ] = False,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="a .gif or .mp4")] = Path("walk.gif"),
    fps: Annotated[int, typer.Option(min=1, max=50, help="frames a second")] = 25,
    truncation: Truncation = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="of this class, by name or number; several: side by side")
    ] = None,
    device: Device = "cpu",
) -> None:
    """A film that walks from seed to seed: straight in W, along great circles in Z."""
    import numpy as np
    import torch
    from PIL import Image

    from zoo import pictures, styles
    from zoo.checkpoint import load

    pictures.check_film(output)
    wanted = _numbers(seeds, "--seeds")
    model: Any = load(run, device=device)
    space = space or ("w" if hasattr(model, "styles") else "z")
    if space not in ("w", "z"):
        raise ValueError(f"--space={space} must be w or z")
    if space == "w":
        _check_styles(model, "--space=w", "use --space=z")
    elif truncation is not None:
        raise ValueError("--truncation is a matter of styles: leave it out, or use --space=w")
    labels: list[int | None] = [*_labels(model, label or [])] or [None]
    if space == "z" and labels == [None] and _has_classes(model):
        raise ValueError("images walk in Z within a class: name one or several, --label CLASS")
    strips = []
    for of_class in labels:
        if space == "w":
            keys = _styles(model, wanted, of_class, truncation)
            images = styles.render(model, styles.walk(keys, frames, loop=loop, between=styles.lerp))
        else:
            z = styles.walk(model.latent_of(wanted), frames, loop=loop, between=styles.slerp)
            images = torch.cat([_of_latents(model, part, of_class) for part in z.split(styles.BATCH)])
        strips.append(pictures.drawn(images))
    film = [Image.fromarray(frame) for frame in np.concatenate(strips, axis=2)]
    pictures.film(film, output, fps=fps)
    typer.echo(f"{len(film)} frames, {len(film) / fps:.1f} s, through seeds {seeds} in {space.upper()}: {output}")


@app.command()
def mix(
    run: Run,
    rows: Annotated[str, typer.Option(metavar="SEEDS", help="the images on the left, such as 0-3")] = "0-3",
    columns: Annotated[str, typer.Option(metavar="SEEDS", help="the images above, which lend styles")] = "4-9",
    layers: Layers = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="a picture")] = Path("mix.png"),
    truncation: Truncation = None,
    label: Label = None,
    device: Device = "cpu",
) -> None:
    """Images on the left with some layers' styles from those above (arXiv:1812.04948, Figure 3).

    By default a band of rows for each of coarse, middle and fine: of coarse styles come pose and shape, of fine ones
    colours and texture.
    """
    from zoo import pictures, styles
    from zoo.checkpoint import load

    _check_picture(output)
    lists = [_numbers(rows, "--rows"), _numbers(columns, "--columns")]
    model: Any = load(run, device=device)
    _check_styles(model, "zoo mix")
    of_rows, of_columns = (_styles(model, seeds, _one_label(model, label), truncation) for seeds in lists)
    bands = {text: styles.layers(text, of_rows.shape[1]) for text in layers or styles.BANDS}
    left, above = styles.render(model, of_rows), styles.render(model, of_columns)
    grid: list[list[Any]] = [[None, *above]]
    names = [""]
    for text, chosen in bands.items():
        mixed = styles.render(model, styles.mix(of_rows, of_columns, chosen).flatten(0, 1))
        of_band = mixed.unflatten(0, (len(left), len(above)))
        grid += [[source, *row] for source, row in zip(left, of_band, strict=True)]
        names += [f"{text} {seed}" for seed in lists[0]]
    pictures.save(pictures.sheet(grid, left=names, above=["", *map(str, lists[1])]), output)
    for text, chosen in bands.items():
        typer.echo(
            f"{text}: layers {', '.join(map(str, chosen))} of {of_rows.shape[1]} from above, the others from the left"
        )
    typer.echo(f"{len(left)} x {len(above)} mixtures{' of each' if len(bands) > 1 else ''}: {output}")


@app.command()
def project(
    run: Run,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="a picture, cropped to the model's size")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="a picture; the styles lie beside it")],
    steps: Annotated[int, typer.Option(min=1, help="of the search; arXiv:1912.04958, appendix D: 1000")] = 1000,
    space: Annotated[
        str, typer.Option(metavar="w|w+", help="w+: a style for each layer, nearer, less good to edit")
    ] = "w",
    features: Annotated[
        str | None, typer.Option(help="the classifier that compares, or pixels; the run's own where it is of this zoo")
    ] = None,
    label: Label = None,
    device: Device = "cpu",
) -> None:
    """Find the styles of a real image: FILE shows it beside what the model makes of them, FILE.safetensors has them."""
    from zoo import pictures, styles
    from zoo.checkpoint import load

    _check_picture(output)
    _check_kept(image, output, output.with_suffix(".safetensors"))
    if space not in ("w", "w+"):
        raise ValueError(f"--space={space} must be w or w+")
    model: Any = load(run, device=device)
    _check_styles(model, "zoo project")
    target, found = _project(model, run, image, steps, space == "w+", features, _one_label(model, label))
    pictures.save(pictures.sheet([[target[0], found.image[0]]], above=["image", f"{found.psnr:.1f} dB"]), output)
    latent = output.with_suffix(".safetensors")
    with pictures.whole(latent) as part:
        styles.save_styles(found.ws, part, image=str(image), space=space, run=str(run))
    typer.echo(f"{output}, and the styles for `zoo edit`: {latent}")


@app.command()
def directions(
    run: Run,
    method: Annotated[
        str, typer.Option(metavar="factorize|pca", help="of the weights (SeFa), or the main axes of W (GANSpace)")
    ] = "factorize",
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="how many; not of named ones")] = 8,
    attribute: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="of this: thickness, slant, brightness, a class, or the name of the labels"),
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(metavar="NAME", help="of classes as mnist, cifar10 or colour_digits tell them")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="a .csv of seed,label that you made: numbers, or two or more words"),
    ] = None,
    samples: Annotated[int, typer.Option(min=50, help="images that are measured or classified")] = 2000,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="a .safetensors; a picture lies beside it")
    ] = Path("directions.safetensors"),
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="the image that is shown")] = 0,
    label: Label = None,
    device: Device = "cpu",
) -> None:
    """Find directions in W, for `zoo edit`, and show them: a row each, strengths from -3 to 3 standard deviations.

    Without --attribute, --classifier or --labels, those that nobody named. To label by hand: zoo sample RUN -n 200 -o
    FOLDER, look at the images, and write a line seed,label for each into a .csv.
    """
    from zoo import pictures, styles
    from zoo.checkpoint import load

    if output.suffix != ".safetensors":
        raise ValueError(f"-o {output} must end in .safetensors; the picture gets the same name with .png")
    pictures.make_folder(output)
    if method not in ("factorize", "pca"):
        raise ValueError(f"--method={method} must be factorize or pca")
    if labels and classifier:
        raise ValueError("--labels are yours, and --classifier makes its own: leave one out")
    model: Any = load(run, device=device)
    _check_styles(model, "zoo directions")
    of_class = _one_label(model, label)
    w = styles.spread(model, label=of_class)
    number = min(number, w.shape[1])
    if attribute or classifier or labels:
        if labels:
            seeds, values = styles.read_labels(labels, attribute)
            measures: dict[str, Any] = {}
        else:
            seeds, measures = list(range(samples)), _measures(attribute, classifier)
            with typer.progressbar(length=samples, label="measure") as progress:
                values = styles.measured(model, seeds, measures, label=of_class, progress=progress.update)
        of_seeds = _styles(model, seeds, of_class)[:, 0].cpu()
        learned = {name: styles.learn(of_seeds, value) for name, value in values.items()}
        vectors = _stack([one.vector for one in learned.values()])
        found = styles.directions(list(learned), vectors, w, method="ridge")
        for name, one in learned.items():
            typer.echo(_scores(model, name, one, found[name], measures.get(name), of_class))
    elif method == "pca":
        found = styles.directions(list(map(str, range(number))), styles.principal(w, number), w, method="pca")
    else:
        vectors = styles.factorize(styles.modulations(model.best), number)
        found = styles.directions(list(map(str, range(number))), vectors, w, method="factorize")
    ws, strengths = _styles(model, [seed], of_class), range(-3, 4)
    rows = [_stack([styles.edit(ws[0], found[name], strength) for strength in strengths]) for name in found.names]
    grid = [list(styles.render(model, row)) for row in rows]
    pictures.save(
        pictures.sheet(grid, left=found.names, above=[f"{s:+d}" if s else "0" for s in strengths]),
        output.with_suffix(".png"),
    )
    with pictures.whole(output) as part:
        styles.save_directions(found, part)
    typer.echo(f"{len(found.names)} directions: {output}; seed {seed} along each: {output.with_suffix('.png')}")


@app.command()
def edit(
    run: Run,
    image: Annotated[
        Path | None, typer.Argument(metavar="[IMAGE]", help="a picture, or the .safetensors of `zoo project`")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="images of the model's own, such as 0-7,12")
    ] = None,
    direction: Annotated[
        str, typer.Option(metavar="FILE[:NAME]", help="of `zoo directions`: a name or number; the first by default")
    ] = "directions.safetensors",
    strength: Annotated[
        list[float] | None, typer.Option(help="in standard deviations, to either side; may be repeated")
    ] = None,
    layers: Annotated[
        str, typer.Option(metavar="LAYERS", help="coarse, middle, fine, all, or numbers such as 2-5")
    ] = "all",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="a picture with the image beside it, or a folder for the edits alone")
    ] = Path("edit.png"),
    steps: Annotated[int, typer.Option(min=1, help="of the search for a picture's styles")] = 1000,
    features: Annotated[str | None, typer.Option(help="as of `zoo project`")] = None,
    label: Label = None,
    device: Device = "cpu",
) -> None:
    """Move images along a direction: zoo edit RUN --seeds 3 --direction directions.safetensors:smile --strength 2."""
    from zoo import pictures, styles
    from zoo.batch import to_unit
    from zoo.checkpoint import load

    if (image is None) == (seeds is None):
        raise ValueError("give either a picture or --seeds")
    if image is not None:
        _check_kept(image, output)
    name, vector = styles.named_direction(direction)
    strengths = strength or [2.0]
    model: Any = load(run, device=device)
    _check_styles(model, "zoo edit")
    of_class = _one_label(model, label)
    own = model.styles([0], None if of_class is None else [of_class])
    where = styles.layers(layers, own.shape[1])
    if len(vector) != own.shape[2]:
        raise ValueError(
            f"{direction} is of a model whose styles have {len(vector)} numbers, and here they have {own.shape[2]}: "
            f"make it anew, zoo directions {run}"
        )
    before: list[Any] = []
    if image is None:
        numbers = _numbers(seeds or "", "--seeds")
        ws = _styles(model, numbers, of_class)
        names = [f"seed {number}" for number in numbers]
    elif image.suffix == ".safetensors":
        ws = styles.load_styles(image)
        numbers, names = list(range(len(ws))), [image.stem] * len(ws)
        if ws.shape[1:] != own.shape[1:]:
            raise ValueError(f"{image} has styles of another model: make them anew, zoo project {run}")
    else:
        target, found = _project(model, run, image, steps, False, features, of_class)
        before, ws, numbers, names = [target[0]], found.ws, [0], [image.stem]
    columns = [styles.render(model, styles.edit(ws, vector, s, where).to(own)) for s in strengths]
    if output.suffix.lower() in PICTURES:
        shown = [styles.render(model, ws.to(own)), *columns]
        grid = [[*before, *row] for row in zip(*shown, strict=True)]
        above = [*(["image", "projection"] if before else ["0"]), *(f"{s:+g}" for s in strengths)]
        pictures.save(pictures.sheet(grid, left=names, above=above), output)
    else:
        for s, images in zip(strengths, columns, strict=True):
            _write_images(to_unit(images), output / f"{s:+g}" if len(strengths) > 1 else output, numbers)
    typer.echo(f"{len(ws)} images along {name} by {', '.join(f'{s:+g}' for s in strengths)}: {output}")


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

    Super-resolution: --data FOLDER prints a table, each image of it and their mean, beside bicubic enlargement. An
    image that can't be measured is named and left out; the exit status is then 1.
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
    """The table of a folder of high-resolution images, shrunk by the literature's bicubic and enlarged again.

    Images that are broken or too small are left out, and named behind it.
    """
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


@app.command()
def upscale(
    run: Run,
    source: Annotated[Path, typer.Argument(metavar="IMAGE", help="an image, or a folder of images")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="a picture, or a folder: where IMAGE is one, another")
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
        if target.is_dir():
            target = target / f"{source.stem}.png"
        with _bar(source.name) as advance:
            width, height = enlarge_file(model, source, target, tile=tile, progress=advance)
        typer.echo(f"{target}: {width}x{height}")
        return
    if output is None or output.suffix.lower() in PICTURES:
        raise ValueError(f"{source} is a folder: give one for the results too, -o FOLDER")
    files = find_images(source)
    if not files:
        raise ValueError(f"{source} holds no images")
    targets = {name: output / (name if name.lower().endswith(FORMATS) else f"{name}.png") for name in files}
    check_output(source, source, output, targets)
    failed = []
    with _bar(f"{len(files)} images") as advance:
        for done, name in enumerate(files):
            advance(done, len(files))
            try:
                enlarge_file(model, source / name, targets[name], tile=tile)
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


def _has_classes(model: Any) -> bool:
    return bool(model.hparams.get("classes")) and not model.hparams.get("condition_dim")


def _one_label(model: Any, asked: str | None) -> int | None:
    """The label that is meant; None, where none is asked for: each seed's own."""
    return None if asked is None else _label(asked, _classes(model))


def _numbers(text: str, name: str) -> list[int]:
    from zoo.styles import ranges

    return ranges(text, name)


def _check_picture(output: Path) -> None:
    from zoo.pictures import make_folder

    if output.suffix.lower() not in PICTURES:
        raise ValueError(f"-o {output} must be a picture, such as {output.stem}.png")
    make_folder(output)


def _check_kept(image: Path, *outputs: Path) -> None:
    if image.resolve() in [output.resolve() for output in outputs]:
        raise ValueError(f"{image} would be written over: give another name, -o")


def _check_styles(model: Any, what: str, remedy: str = "train model=stylegan_lite") -> None:
    if not hasattr(model, "styles"):
        raise ValueError(f"{type(model).__name__} has no styles, which {what} needs: {remedy}")


def _styles(model: Any, seeds: Sequence[int], label: int | None, truncation: float | None = None) -> Any:
    """The styles ws [N, num_ws, w_dim] of seeds, truncated towards their mean."""
    ws = model.styles(list(seeds), None if label is None else [label] * len(seeds))
    return ws if truncation is None else model.best.truncate(ws, truncation)


def _of_latents(model: Any, z: Any, label: int | None) -> Any:
    """Images [N, C, H, W] in [-1, 1] of latents [N, latent_dim], on the CPU."""
    import torch

    labels = None if label is None else torch.full((len(z),), label, device=z.device)
    with torch.no_grad():
        return model.from_latents(z, labels).clamp(-1, 1).cpu()


def _draw(model: Any, seeds: Sequence[int], label: int | None, truncation: float | None) -> Any:
    """Images [N, C, H, W] in [0, 1] of seeds, on the CPU."""
    import torch

    from zoo.batch import to_unit
    from zoo.styles import render

    if truncation is not None:
        if not 0 <= truncation <= 2:
            raise ValueError(f"--truncation={truncation} must be in [0, 2]: 1 is none, 0 the one image of the mean")
        _check_styles(model, "--truncation", "leave it out")
        return to_unit(render(model, _styles(model, seeds, label, truncation)))
    images = []
    for batch in torch.tensor(seeds, device=model.device).split(256):
        labels = None if label is None else torch.full_like(batch, label)
        with torch.no_grad():
            images.append(to_unit(model.generate(batch, labels)).cpu())
    return torch.cat(images)


def _stack(tensors: Sequence[Any]) -> Any:
    import torch

    return torch.stack(list(tensors))


def _classifier(name: str) -> Any:
    """The small classifier of that name, from zoo/metrics/extractors.py."""
    from zoo.metrics.extractors import SmallClassifier

    known = {network.name: network for network in SmallClassifier.__subclasses__()}
    if name not in known:
        raise ValueError(f"there is no classifier {name}: choose from {', '.join(known)}")
    return known[name]()


def _activations(model: Any, run: Path, asked: str | None) -> tuple[str, Any]:
    """What compares two images: the name of a classifier and its activations, or "pixels" and None."""
    from zoo import checkpoint

    name = asked
    if name is None:
        metrics = checkpoint.read(checkpoint.find(run))["zoo"]["config"].get("metrics") or {}
        of_run = metrics.get("extractor", {}).get("_target_", "").rpartition(".")[2]
        from zoo.metrics.extractors import SmallClassifier

        name = next((c.name for c in SmallClassifier.__subclasses__() if c.__name__ == of_run), "pixels")
    if name == "pixels" or model.hparams["channels"] not in (1, 3):
        return "pixels", None
    extractor = _classifier(name).to(model.device)
    return name, lambda images: extractor.activations((images + 1) * 127.5)


def _project(
    model: Any, run: Path, path: Path, steps: int, plus: bool, features: str | None, label: int | None
) -> tuple[Any, Any]:
    """A picture [1, C, H, W] as the model would make it, and its projection; says how near it is."""
    import torch

    from zoo import styles
    from zoo.batch import from_bytes
    from zoo.data.reading import MAX_PIXELS, opened
    from zoo.data.reading import Reader as OfSize

    if not path.is_file():
        raise ValueError(f"{path} does not exist: give a picture")
    shape = styles.render(model, model.styles([0], None if label is None else [label])).shape
    channels, height, width = shape[1:]
    with opened(path, max_pixels=MAX_PIXELS) as picture:
        reader = OfSize((height, width), channels, "crop", (255, 255, 255), MAX_PIXELS)
        if picture.size != (width, height):
            typer.echo(f"{path} has {picture.width}x{picture.height} pixels: its centre, resized to {width}x{height}")
        kinds = {"L": "grey", "RGB": "colour"}
        if kinds.get(picture.mode) != ("grey" if channels <= 2 else "colour"):
            typer.echo(
                f"{path} is {kinds.get(picture.mode, picture.mode)}: made {'grey' if channels <= 2 else 'colour'}"
            )
        image = from_bytes(torch.tensor(reader.pixels(picture)))[None]
    name, activations = _activations(model, run, features)
    with typer.progressbar(length=steps, label="project") as progress:
        found = styles.project(
            model, image, steps=steps, plus=plus, activations=activations, label=label, progress=progress.update
        )
    typer.echo(
        f"{path}: {found.psnr:.2f} dB; {name} distance {found.distance:.4g}, from {found.start:.4g} at the mean style"
    )
    return image, found


def _measures(attributes: list[str] | None, classifier: str | None) -> dict[str, Any]:
    """What measures each attribute; by default all classes of the classifier."""
    from zoo import styles
    from zoo.batch import to_bytes

    known: dict[str, Any] = dict(styles.MEASURES)
    if classifier:
        network = _classifier(classifier)
        of_class = lambda index: lambda images: network.log_odds(to_bytes(images), index)
        classes = {name: of_class(index) for index, name in enumerate(network.classes)}
        attributes = attributes or list(classes)
        known |= classes
    if unknown := [name for name in attributes or [] if name not in known]:
        raise ValueError(
            f"--attribute={unknown[0]} is not measured here: choose from {', '.join(known)}, or learn it from your "
            "own labels: --labels labels.csv"
        )
    return {name: known[name] for name in attributes or []}


def _scores(model: Any, name: str, one: Any, direction: Any, measure: Any, label: int | None) -> str:
    """How well a direction was learned, and, where the attribute is measured, what moving along it does."""
    from zoo import styles

    held_out = f"{name}: correlation {one.correlation:.3f} on the fifth held out"
    if one.accuracy is not None:
        held_out += f", accuracy {one.accuracy:.0%} ({one.chance:.0%} by always naming one)"
    if measure is None:
        return held_out
    ws = _styles(model, range(10**6, 10**6 + styles.BATCH), label)  # seeds that it was not learned from
    low, high = (float(measure(styles.render(model, styles.edit(ws, direction, s))).mean()) for s in (-2, 2))
    return f"{held_out}; strength -2 to +2 moves it from {low:.3g} to {high:.3g}"


def check_output(source: Path, folder: Path, output: Path, targets: dict[str, Path]) -> None:
    """Refuse results, by the names of the images in `folder`, that would not lie in a folder apart.

    Raises:
        ValueError: `output` is a file, or within the images' folder, or a result would replace an image or another.
    """
    inputs = {(folder / name).resolve() for name in targets}
    within = source.is_dir() and output.resolve().is_relative_to(source.resolve())
    if within or any(target.resolve() in inputs for target in targets.values()):
        raise ValueError(f"-o {output} lies within {source}, whose images stay as they are: give another folder")
    if output.is_file():
        raise ValueError(f"-o {output} is a file: give a folder, the results keep the names of the images")
    written = Counter(targets.values())
    if twice := [name for name, target in targets.items() if written[target] > 1]:
        raise ValueError(f"{', '.join(twice)} would all be written as {targets[twice[0]]}: rename one, or move it away")


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


def _write_images(images: Any, folder: Path, seeds: Sequence[int]) -> None:
    """Images [N, C, H, W] in [0, 1] as FOLDER/<seed>.png."""
    from torchvision.transforms.functional import to_pil_image

    folder.mkdir(parents=True, exist_ok=True)
    for i, image in zip(seeds, images.mul(255).round().byte(), strict=True):
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
                _write_images(
                    model.sample(size, seed=start, labels=[label] * size), folder / of_class, range(start, start + size)
                )
                for i in range(start, start + size):
                    manifest.writerow([f"{of_class}/{i:06d}.png", label, classes[label], i])


def _headline(path: Path) -> str:
    """The first comment of a YAML file that is more than a directive."""
    comments = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
    return next((comment for comment in comments if not comment.startswith("@package")), "")


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
