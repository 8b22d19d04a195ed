"""The commands on styles: zoo interpolate, mix, project, directions, edit."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.common import (
    PICTURES,
    Device,
    Label,
    Run,
    Seeds,
    Truncation,
    check_picture,
    check_styles,
    has_classes,
    labels_of,
    one_label,
    seed_numbers,
    styles_of,
    write_images,
)

Layers = Annotated[
    list[str] | None,
    typer.Option(metavar="LAYERS", help="coarse, middle, fine, all, or numbers such as 2-5; may be repeated"),
]


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

    from zoo.run.checkpoint import load
    from zoo.use import pictures, styles

    pictures.check_film(output)
    wanted = seed_numbers(seeds, "--seeds")
    model: Any = load(run, device=device)
    space = space or ("w" if hasattr(model, "styles") else "z")
    if space not in ("w", "z"):
        raise ValueError(f"--space={space} must be w or z")
    if space == "w":
        check_styles(model, "--space=w", "use --space=z")
    elif truncation is not None:
        raise ValueError("--truncation is a matter of styles: leave it out, or use --space=w")
    labels: list[int | None] = [*labels_of(model, label or [])] or [None]
    if space == "z" and labels == [None] and has_classes(model):
        raise ValueError("images walk in Z within a class: name one or several, --label CLASS")
    strips = []
    for of_class in labels:
        if space == "w":
            keys = styles_of(model, wanted, of_class, truncation)
            images = styles.render(model, styles.walk(keys, frames, loop=loop, between=styles.lerp))
        else:
            z = styles.walk(model.latent_of(wanted), frames, loop=loop, between=styles.slerp)
            images = torch.cat([_of_latents(model, part, of_class) for part in z.split(styles.BATCH)])
        strips.append(pictures.drawn(images))
    film = [Image.fromarray(frame) for frame in np.concatenate(strips, axis=2)]
    pictures.film(film, output, fps=fps)
    typer.echo(f"{len(film)} frames, {len(film) / fps:.1f} s, through seeds {seeds} in {space.upper()}: {output}")


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
    from zoo.run.checkpoint import load
    from zoo.use import pictures, styles

    check_picture(output)
    lists = [seed_numbers(rows, "--rows"), seed_numbers(columns, "--columns")]
    model: Any = load(run, device=device)
    check_styles(model, "zoo mix")
    of_rows, of_columns = (styles_of(model, seeds, one_label(model, label), truncation) for seeds in lists)
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
    from zoo.run.checkpoint import load
    from zoo.use import pictures, styles

    check_picture(output)
    _check_kept(image, output, output.with_suffix(".safetensors"))
    if space not in ("w", "w+"):
        raise ValueError(f"--space={space} must be w or w+")
    model: Any = load(run, device=device)
    check_styles(model, "zoo project")
    target, found = _project(model, run, image, steps, space == "w+", features, one_label(model, label))
    pictures.save(pictures.sheet([[target[0], found.image[0]]], above=["image", f"{found.psnr:.1f} dB"]), output)
    latent = output.with_suffix(".safetensors")
    with pictures.whole(latent) as part:
        styles.save_styles(found.ws, part, image=str(image), space=space, run=str(run))
    typer.echo(f"{output}, and the styles for `zoo edit`: {latent}")


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
    from zoo.run.checkpoint import load
    from zoo.use import pictures, styles

    if output.suffix != ".safetensors":
        raise ValueError(f"-o {output} must end in .safetensors; the picture gets the same name with .png")
    pictures.make_folder(output)
    if method not in ("factorize", "pca"):
        raise ValueError(f"--method={method} must be factorize or pca")
    if labels and classifier:
        raise ValueError("--labels are yours, and --classifier makes its own: leave one out")
    model: Any = load(run, device=device)
    check_styles(model, "zoo directions")
    of_class = one_label(model, label)
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
        of_seeds = styles_of(model, seeds, of_class)[:, 0].cpu()
        learned = {name: styles.learn(of_seeds, value) for name, value in values.items()}
        vectors = _stack([one.vector for one in learned.values()])
        found = styles.directions(list(learned), vectors, w, method="ridge")
        for name, one in learned.items():
            typer.echo(_scores(model, name, one, found[name], measures.get(name), of_class))
    elif method == "pca":
        found = styles.directions(list(map(str, range(number))), styles.principal(w, number), w, method="pca")
    else:
        vectors = styles.factorize(model.best.modulations(model.stage(model.images)), number)
        found = styles.directions(list(map(str, range(number))), vectors, w, method="factorize")
    ws, strengths = styles_of(model, [seed], of_class), range(-3, 4)
    rows = [_stack([styles.edit(ws[0], found[name], strength) for strength in strengths]) for name in found.names]
    grid = [list(styles.render(model, row)) for row in rows]
    pictures.save(
        pictures.sheet(grid, left=found.names, above=[f"{s:+d}" if s else "0" for s in strengths]),
        output.with_suffix(".png"),
    )
    with pictures.whole(output) as part:
        styles.save_directions(found, part)
    typer.echo(f"{len(found.names)} directions: {output}; seed {seed} along each: {output.with_suffix('.png')}")


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
    from zoo.batch import to_unit
    from zoo.run.checkpoint import load
    from zoo.use import pictures, styles

    if (image is None) == (seeds is None):
        raise ValueError("give either a picture or --seeds")
    if image is not None:
        _check_kept(image, output)
    strengths = strength or [2.0]
    if not all(map(math.isfinite, strengths)):
        raise ValueError(f"--strength={next(s for s in strengths if not math.isfinite(s))} must be a finite number")
    name, vector = styles.named_direction(direction)
    model: Any = load(run, device=device)
    check_styles(model, "zoo edit")
    of_class = one_label(model, label)
    own = model.styles([0], None if of_class is None else [of_class])
    where = styles.layers(layers, own.shape[1])
    if len(vector) != own.shape[2]:
        raise ValueError(
            f"{direction} is of a model whose styles have {len(vector)} numbers, and here they have {own.shape[2]}: "
            f"make it anew, zoo directions {run}"
        )
    before: list[Any] = []
    if image is None:
        numbers = seed_numbers(seeds or "", "--seeds")
        ws = styles_of(model, numbers, of_class)
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
            write_images(to_unit(images), output / f"{s:+g}" if len(strengths) > 1 else output, numbers)
    typer.echo(f"{len(ws)} images along {name} by {', '.join(f'{s:+g}' for s in strengths)}: {output}")


def _check_kept(image: Path, *outputs: Path) -> None:
    if image.resolve() in [output.resolve() for output in outputs]:
        raise ValueError(f"{image} would be written over: give another name, -o")


def _of_latents(model: Any, z: Any, label: int | None) -> Any:
    """Images [N, C, H, W] in [-1, 1] of latents [N, latent_dim], on the CPU."""
    import torch

    labels = None if label is None else torch.full((len(z),), label, device=z.device)
    with torch.no_grad():
        return model.from_latents(z, labels).clamp(-1, 1).cpu()


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
    from zoo.run import checkpoint

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

    from zoo.batch import from_bytes
    from zoo.data.reading import MAX_PIXELS, opened
    from zoo.data.reading import Reader as OfSize
    from zoo.use import styles

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
    from zoo.batch import to_bytes
    from zoo.use import styles

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
    from zoo.use import styles

    held_out = f"{name}: correlation {one.correlation:.3f} on the fifth held out"
    if one.accuracy is not None:
        held_out += f", accuracy {one.accuracy:.0%} ({one.chance:.0%} by always naming one)"
    if measure is None:
        return held_out
    ws = styles_of(model, range(10**6, 10**6 + styles.BATCH), label)  # seeds that it was not learned from
    low, high = (float(measure(styles.render(model, styles.edit(ws, direction, s))).mean()) for s in (-2, 2))
    return f"{held_out}; strength -2 to +2 moves it from {low:.3g} to {high:.3g}"
