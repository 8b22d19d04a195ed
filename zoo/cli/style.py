"""The commands on latent spaces: zoo interpolate, mix, project, directions, edit."""

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from zoo.cli.common import Device, Label, Labels, Run, Seeds, Truncation, label_of, loaded, progress, require

LAYERS = "coarse, middle, fine, all, or numbers such as 2-5"
DIRECTIONS = "directions.safetensors"


def interpolate(
    run: Run,
    seeds: Seeds = "0-5",
    space: Annotated[Literal["w", "z"] | None, Option(help="where to walk; w if the model has styles")] = None,
    frames: Annotated[int, Option(min=1, help="steps from each seed to the next")] = 30,
    loop: Annotated[bool, Option("--loop", help="walk back to the first seed, so that the film has no end")] = False,
    output: Annotated[Path, Option("-o", "--output", metavar="FILE", help="a .gif or .mp4")] = Path("walk.gif"),
    fps: Annotated[int, Option(min=1, max=50, help="frames a second")] = 25,
    truncation: Truncation = None,
    label: Labels = None,
    device: Device = "cpu",
) -> None:
    """A film that walks from seed to seed: straight in W, along great circles in Z; several classes side by side."""
    from zoo.game.abilities import FromLatents, Styles, classes_of
    from zoo.loading import load
    from zoo.use import pictures, styles

    pictures.check_film(output)
    wanted = styles.ranges(seeds, "--seeds")
    model = load(run, device=device)
    space = space or ("w" if isinstance(model, Styles) else "z")
    if space == "w":
        require(model, Styles, "--space=w", "use --space=z")
    else:
        require(model, FromLatents, "zoo interpolate")
        if truncation is not None:
            raise ValueError("--truncation is a matter of styles: leave it out, or use --space=w")
        if not label and classes_of(model):
            raise ValueError("images walk in Z within a class: name one or several, --label CLASS")
    labels: list[int | None] = [label_of(model, name) for name in label or []] or [None]
    settings: dict[str, Any] = {"space": space, "loop": loop, "truncation": truncation}
    walks = [styles.interpolate(model, wanted, frames, label=of_class, **settings) for of_class in labels]
    length = pictures.film(walks, output, fps=fps)
    typer.echo(f"{length} frames, {length / fps:.1f} s, through seeds {seeds} in {space.upper()}: {output}")


def mix(
    run: Run,
    rows: Annotated[str, Option(metavar="SEEDS", help="the images on the left, such as 0-3")] = "0-3",
    columns: Annotated[str, Option(metavar="SEEDS", help="the images above, which lend styles")] = "4-9",
    layers: Annotated[list[str] | None, Option(metavar="LAYERS", help=f"{LAYERS}; may be repeated")] = None,
    output: Annotated[Path, Option("-o", "--output", metavar="FILE", help="a picture")] = Path("mix.png"),
    truncation: Truncation = None,
    label: Label = None,
    device: Device = "cpu",
) -> None:
    """Images on the left with some layers' styles from those above (arXiv:1812.04948, Figure 3).

    By default a band of rows for each of coarse, middle and fine: of coarse styles come pose and shape, of fine ones
    colours and texture.
    """
    from zoo.use import pictures, styles

    pictures.check_picture(output)
    left, above = styles.ranges(rows, "--rows"), styles.ranges(columns, "--columns")
    model, of_class = _styled(run, device, "zoo mix", label)
    num_ws = model.styles([0]).shape[1]
    bands = {text: styles.layers(text, num_ws) for text in layers or styles.BANDS}
    picture = styles.mix_sheet(model, left, above, bands, label=of_class, truncation=truncation)
    pictures.save(picture, output)
    for text, chosen in bands.items():
        typer.echo(f"{text}: layers {', '.join(map(str, chosen))} of {num_ws} from above, the others from the left")
    typer.echo(f"{len(left)} x {len(above)} mixtures{' of each' if len(bands) > 1 else ''}: {output}")


def project(
    run: Run,
    image: Annotated[Path, Argument(metavar="IMAGE", help="a picture, cropped to the model's size")],
    output: Annotated[Path, Option("-o", "--output", metavar="FILE", help="a picture; the styles lie beside it")],
    steps: Annotated[int, Option(min=1, help="of the search; arXiv:1912.04958, appendix D: 1000")] = 1000,
    space: Annotated[Literal["w", "w+"], Option(help="w+: a style for each layer, nearer, less good to edit")] = "w",
    features: Annotated[str | None, Option(help="the classifier that compares, or pixels; else the run's")] = None,
    label: Label = None,
    device: Device = "cpu",
) -> None:
    """Find the styles of a real image: FILE shows it beside what the model makes of them, FILE.safetensors has them."""
    from zoo.use import pictures, styles

    pictures.check_picture(output)
    file = output.with_suffix(".safetensors")
    _check_kept(image, output, file)
    model, of_class = _styled(run, device, "zoo project", label)
    target, nearest = _project(model, image, steps, space == "w+", features, of_class)
    pictures.save(pictures.sheet([[target[0], nearest.image[0]]], above=["image", f"{nearest.psnr:.1f} dB"]), output)
    styles.save_styles(nearest.ws, file, image=str(image), space=space, run=str(run))
    typer.echo(f"{output}, and the styles for `zoo edit`: {file}")


def directions(
    run: Run,
    method: Annotated[Literal["factorize", "pca"], Option(help="of the weights, or the main axes of W")] = "factorize",
    number: Annotated[int, Option("-n", "--number", min=1, help="how many; not of named ones")] = 8,
    attribute: Annotated[
        list[str] | None, Option(metavar="NAME", help="thickness, slant, brightness, a class, or what the labels name")
    ] = None,
    classifier: Annotated[str | None, Option(metavar="NAME", help="of classes: mnist, cifar10, colour_digits")] = None,
    labels: Annotated[Path | None, Option(metavar="FILE", help="your .csv of seed,label: numbers, or words")] = None,
    samples: Annotated[int, Option(min=50, help="images that are measured or classified")] = 2000,
    output: Annotated[
        Path, Option("-o", "--output", metavar="FILE", help="a .safetensors; a picture lies beside it")
    ] = Path(DIRECTIONS),
    seed: Annotated[int, Option(min=0, max=2**62, help="the image that is shown")] = 0,
    label: Label = None,
    device: Device = "cpu",
) -> None:
    """Find directions in W, for `zoo edit`, and show them: a row each, strengths from -3 to 3 standard deviations.

    Without --attribute, --classifier or --labels, those that nobody named. To label by hand: zoo sample RUN -n 200 -o
    FOLDER, look at the images, and write a line seed,label for each into a .csv.
    """
    from zoo.use import pictures, styles

    if output.suffix != ".safetensors":
        raise ValueError(f"-o {output} must end in .safetensors; the picture gets the same name with .png")
    pictures.make_folder(output)
    if labels and classifier:
        raise ValueError("--labels are yours, and --classifier makes its own: leave one out")
    model, of_class = _styled(run, device, "zoo directions", label)
    if attribute or classifier or labels:
        measures = {} if labels else _measures(attribute, classifier)
        if labels:
            seeds, values = styles.read_labels(labels, attribute)
        else:
            seeds = list(range(samples))
            with progress("measure") as track:
                values = styles.measured(model, seeds, measures, label=of_class, track=track)
        result, learned = styles.learn_all(model, seeds, values, label=of_class)
        for name, one in learned.items():
            sentence = f"{name}: correlation {one.correlation:.3f} on the fifth held out"
            if one.accuracy is not None:
                sentence += f", accuracy {one.accuracy:.0%} ({one.chance:.0%} by always naming one)"
            if name in measures:
                low, high = styles.effect(model, result[name], measures[name], label=of_class)
                sentence += f"; strength -2 to +2 moves it from {low:.3g} to {high:.3g}"
            typer.echo(sentence)
    else:
        result = styles.unnamed(model, method, number, label=of_class)
    pictures.save(styles.direction_sheet(model, result, seed, label=of_class), output.with_suffix(".png"))
    result.save(output)
    typer.echo(f"{len(result.names)} directions: {output}; seed {seed} along each: {output.with_suffix('.png')}")


def edit(
    run: Run,
    image: Annotated[Path | None, Argument(metavar="[IMAGE]", help="a picture, or the styles of `zoo project`")] = None,
    seeds: Annotated[str | None, Option(metavar="SEEDS", help="images of the model's own, such as 0-7,12")] = None,
    direction: Annotated[str, Option(metavar="FILE[:NAME]", help="which of them; else the first")] = DIRECTIONS,
    strength: Annotated[list[float] | None, Option(help="in standard deviations; may be repeated")] = None,
    layers: Annotated[str, Option(metavar="LAYERS", help=LAYERS)] = "all",
    output: Annotated[Path, Option("-o", "--output", help="a picture, or a folder of edits alone")] = Path("edit.png"),
    steps: Annotated[int, Option(min=1, help="of the search for a picture's styles")] = 1000,
    features: Annotated[str | None, Option(help="as of `zoo project`")] = None,
    label: Label = None,
    device: Device = "cpu",
) -> None:
    """Move images along a direction: zoo edit RUN --seeds 3 --direction directions.safetensors:smile --strength 2."""
    from zoo.batch import check_numbers, to_unit
    from zoo.use import pictures, styles
    from zoo.use.sample import save_files

    if (image is None) == (seeds is None):
        raise ValueError("give either a picture or --seeds")
    if image is not None:
        _check_kept(image, output)
    strengths = strength or [2.0]
    if infinite := [s for s in strengths if not math.isfinite(s)]:
        raise ValueError(f"--strength={infinite[0]} must be a finite number")
    name, vector = styles.named_direction(direction)
    model, of_class = _styled(run, device, "zoo edit", label)
    like = styles.of_seeds(model, [0], of_class)  # [1, num_ws, w_dim]
    chosen = styles.layers(layers, like.shape[1])
    if len(vector) != like.shape[2]:
        sizes = f"styles have {len(vector)} numbers, and here they have {like.shape[2]}"
        raise ValueError(f"{direction} is of a model whose {sizes}: make it anew, zoo directions {run}")
    before, above = [], ["0"]  # what is shown beside the edits
    if image is None:
        numbers = styles.ranges(seeds or "", "--seeds")
        names, ws = [f"seed {number}" for number in numbers], styles.of_seeds(model, numbers, of_class)
    else:
        if image.suffix == ".safetensors":
            ws = styles.load_styles(image)
        else:
            picture, nearest = _project(model, image, steps, False, features, of_class)
            ws, before, above = nearest.ws, [picture], ["image", "projection"]
        if ws.shape[1:] != like.shape[1:]:
            raise ValueError(f"{image} has styles of another model: make them anew, zoo project {run}")
        numbers, names = list(range(len(ws))), [image.stem] * len(ws)
    signed = [f"{s:+g}" for s in strengths]
    edits = [styles.render(model, styles.edit(ws, vector, s, chosen).to(like)) for s in strengths]
    if output.suffix.lower() in pictures.FORMATS:
        rows = list(zip(*before, styles.render(model, ws.to(like)), *edits, strict=True))
        pictures.save(pictures.sheet(rows, names, [*above, *signed]), output)
    else:
        for text, images in zip(signed, edits, strict=True):
            save_files(to_unit(check_numbers(images)), output / text if len(edits) > 1 else output, numbers)
    typer.echo(f"{len(ws)} images along {name} by {', '.join(signed)}: {output}")


def _styled(run: Path, device: str, what: str, label: str | None) -> tuple[Any, int | None]:
    """The model of a run, which has styles, and the label that is asked for; None: each seed's own."""
    from zoo.game.abilities import Styles

    model = loaded(run, device, Styles, what)
    return model, None if label is None else label_of(model, label)


def _check_kept(image: Path, *outputs: Path) -> None:
    if os.path.realpath(image) in map(os.path.realpath, outputs):  # not Path.resolve: a link may lead in a circle
        raise ValueError(f"{image} would be written over: give another name, -o")


def _classifier(name: str) -> Any:
    """The small classifier of that name, from zoo/metrics/extractors.py."""
    from zoo.metrics.extractors import SmallClassifier

    classifiers = {network.name: network for network in SmallClassifier.__subclasses__()}
    if name not in classifiers:
        raise ValueError(f"there is no classifier {name}: choose from {', '.join(classifiers)}")
    return classifiers[name]()


def _project(
    model: Any, path: Path, steps: int, plus: bool, features: str | None, label: int | None
) -> tuple[Any, Any]:
    """A picture [1, C, H, W] as the model would make it, and its projection; says how near it is."""
    from zoo.data.deep import range_of
    from zoo.metrics.extractors import SmallClassifier
    from zoo.use import pictures, styles

    channels, height, width = styles.render(model, styles.of_seeds(model, [0], label)).shape[1:]
    image, changes = pictures.read_centre(path, channels, (height, width), range_of(model.config))
    for change in changes:
        typer.echo(f"{path} {change}")
    if features is None:  # what the run was measured by, if that is a classifier of this zoo
        metrics = model.config.get("metrics") or {}
        extractor = metrics.get("extractor", {}).get("_target_", "").rpartition(".")[2]
        features = next((c.name for c in SmallClassifier.__subclasses__() if c.__name__ == extractor), "pixels")
    activations = None
    if features != "pixels" and channels in (1, 3):
        network = _classifier(features).to(model.device)
        activations = lambda images: network.activations((images + 1) * 127.5)
    with progress("project") as track:
        settings: Any = {"steps": steps, "plus": plus, "activations": activations, "label": label}
        nearest = styles.project(model, image, **settings, track=track)
    measure = "pixels" if activations is None else features
    distances = f"distance {nearest.distance:.4g}, from {nearest.start:.4g} at the mean style"
    typer.echo(f"{path}: {nearest.psnr:.2f} dB; {measure} {distances}")
    return image, nearest


def _measures(attributes: list[str] | None, classifier: str | None) -> dict[str, Any]:
    """What measures each attribute (`styles.Measure`); by default all classes of the classifier."""
    from zoo.batch import to_bytes
    from zoo.use import styles

    measures: dict[str, Any] = dict(styles.MEASURES)
    if classifier:
        network = _classifier(classifier)
        of_class = lambda index: lambda images: network.log_odds(to_bytes(images), index)
        measures |= {name: of_class(index) for index, name in enumerate(network.classes)}
        attributes = attributes or list(network.classes)
    if unknown := [name for name in attributes or [] if name not in measures]:
        remedy = f"choose from {', '.join(measures)}, or learn it from your own labels: --labels labels.csv"
        raise ValueError(f"--attribute={unknown[0]} is not measured here: {remedy}")
    return {name: measures[name] for name in attributes or []}
