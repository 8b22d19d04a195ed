"""The commands on latent spaces: zoo interpolate, mix, encoder, project, directions, edit."""

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from zoo.cli.common import Device, Label, Labels, Run, Seeds, Truncation, label_of, loaded, progress, require

LAYERS = "coarse, middle, fine, all, or numbers such as 2-5"
DIRECTIONS = "directions.safetensors"
STEPS, NEAR = 1000, 100  # of a search from the mean style (arXiv:1912.04958, appendix D), and from an encoder's

Encoder = Annotated[
    Path | None, Option("--encoder", metavar="FILE", help="of `zoo encoder`: where the search for styles begins")
]
Steps = Annotated[
    int | None, Option(min=0, help=f"of the search; else {STEPS}, or {NEAR} from an encoder, which 0 leaves alone")
]
Space = Annotated[Literal["w", "w+"], Option(help="w+: a style for each layer, nearer, less good to edit")]


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
    steps: Steps = None,
    space: Space = "w",
    encoder: Encoder = None,
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
    target = _read(model, image, of_class)
    nearest = _Inverter(model, features, of_class, encoder, steps, space == "w+").project(target, str(image))
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
    groups: Annotated[
        tuple[Path, Path] | None,
        Option(metavar="FOLDER FOLDER", help="real images without, and with, what is to change"),
    ] = None,
    encoder: Encoder = None,
    steps: Steps = None,
    features: Annotated[str | None, Option(help="of --groups, as of `zoo project`")] = None,
    samples: Annotated[int, Option(min=50, help="images that are measured or classified")] = 2000,
    output: Annotated[
        Path, Option("-o", "--output", metavar="FILE", help="a .safetensors; a picture lies beside it")
    ] = Path(DIRECTIONS),
    seed: Annotated[int, Option(min=0, max=2**62, help="the image that is shown")] = 0,
    label: Label = None,
    device: Device = "cpu",
) -> None:
    """Find directions in W, for `zoo edit`, and show them: a row each, strengths from -3 to 3 standard deviations.

    Without --attribute, --classifier, --labels or --groups, those that nobody named. To label by hand: zoo sample RUN
    -n 200 -o FOLDER, look at the images, and write a line seed,label for each into a .csv.
    """
    from zoo.use import pictures, styles

    if output.suffix != ".safetensors":
        raise ValueError(f"-o {output} must end in .safetensors; the picture gets the same name with .png")
    pictures.check_place(output)
    if labels and classifier:
        raise ValueError("--labels are yours, and --classifier makes its own: leave one out")
    if groups and (attribute or classifier or labels):
        raise ValueError("--groups are labels enough: leave --attribute, --classifier and --labels out")
    if groups and os.path.realpath(groups[0]) == os.path.realpath(groups[1]):
        raise ValueError(f"--groups names {groups[0]} twice: give images without, and images with, what is to change")
    if encoder and not groups:
        raise ValueError("--encoder inverts the images of --groups FOLDER FOLDER: give these, or leave it out")
    model, of_class = _styled(run, device, "zoo directions", label)
    if groups:
        inverter = _Inverter(model, features, of_class, encoder, steps, False)
        found = [inverter.all_of(folder) for folder in groups]
        names = [Path(os.path.abspath(folder)).name for folder in groups]
        result, learned = styles.between(model, found, names, label=of_class)
        for name, one in learned.items():
            typer.echo(_learned_in_words(name, one))
    elif attribute or classifier or labels:
        measures = {} if labels else _measures(attribute, classifier)
        if labels:
            seeds, values = styles.read_labels(labels, attribute)
        else:
            seeds = list(range(samples))
            with progress("measure") as track:
                values = styles.measured(model, seeds, measures, label=of_class, track=track)
        result, learned = styles.learn_all(model, seeds, values, label=of_class)
        for name, one in learned.items():
            sentence = _learned_in_words(name, one)
            if name in measures:
                low, high = styles.effect(model, result[name], measures[name], label=of_class)
                sentence += f"; strength -2 to +2 moves it from {low:.3g} to {high:.3g}"
            typer.echo(sentence)
    else:
        result = styles.unnamed(model, method, number, label=of_class)
    pictures.save(styles.direction_sheet(model, result, seed, label=of_class), output.with_suffix(".png"))
    result.save(output)
    typer.echo(f"{len(result.names)} directions: {output}; seed {seed} along each: {output.with_suffix('.png')}")


def encoder(
    run: Run,
    output: Annotated[Path, Option("-o", "--output", metavar="FILE", help="a .safetensors")] = Path(
        "encoder.safetensors"
    ),
    images: Annotated[
        Path | None, Option(metavar="FOLDER", help="real images, whose reconstructions are to be near too")
    ] = None,
    steps: Annotated[int, Option(min=1, help="of Adam, on 16 images of the model's own and 16 real ones")] = 2000,
    width: Annotated[int, Option(min=8, max=512, help="channels of its first layer, a multiple of 8")] = 32,
    features: Annotated[str | None, Option(help="as of `zoo project`")] = None,
    seed: Annotated[int, Option(min=0, max=2**62, help="of its weights and of what it sees")] = 0,
    label: Label = None,
    device: Device = "cpu",
) -> None:
    """Train what finds the styles of real images at once: --encoder of zoo project, directions and edit.

    It learns from the model's own images, whose styles are known, and with --images from real ones, by how near their
    reconstructions are.
    """
    import torch

    from zoo.batch import to_bytes
    from zoo.use import encoder as encoders
    from zoo.use import pictures

    if output.suffix != ".safetensors":
        raise ValueError(f"-o {output} must end in .safetensors")
    if width % 8:
        raise ValueError(f"--width={width} must be a multiple of 8, such as {max(8, width // 8 * 8)}")
    pictures.check_place(output)
    model, of_class = _styled(run, device, "zoo encoder", label)
    inverter = _Inverter(model, features, of_class, None, None, False)
    real = None
    if images is not None:
        real = torch.cat([to_bytes(image) for image in inverter.read_all(images)])
    settings: Any = {"activations": inverter.activations, "label": of_class, "width": width, "seed": seed}
    with progress("train") as track:
        trained = encoders.train(model, steps=steps, images=real, **settings, track=track)
    explained, psnr = encoders.quality(model, trained, of_class)
    trained.save(output, run=str(run), steps=str(steps), seed=str(seed))
    typer.echo(
        f"on images of seeds that it did not see it explains {explained:.0%} of the styles' variance, "
        f"reconstructions have {psnr:.1f} dB: {output}"
        + ("; the mean style would be nearer, so give it more --steps" if explained < 0 else "")
    )


def edit(
    run: Run,
    image: Annotated[Path | None, Argument(metavar="[IMAGE]", help="a picture, or the styles of `zoo project`")] = None,
    seeds: Annotated[str | None, Option(metavar="SEEDS", help="images of the model's own, such as 0-7,12")] = None,
    direction: Annotated[str, Option(metavar="FILE[:NAME]", help="which of them; else the first")] = DIRECTIONS,
    strength: Annotated[list[float] | None, Option(help="in standard deviations; may be repeated")] = None,
    layers: Annotated[str, Option(metavar="LAYERS", help=LAYERS)] = "all",
    output: Annotated[
        Path, Option("-o", "--output", help="a picture, or a folder: of edits alone, of photographs with --paste")
    ] = Path("edit.png"),
    box: Annotated[
        str | None, Option(metavar="L,T,W,H", help="the part of a photograph to edit, in pixels; else its centre")
    ] = None,
    eyes: Annotated[
        str | None,
        Option(metavar="X,Y,X,Y[,X,Y]", help="align a face by its left and right eye, and its mouth, as FFHQ does"),
    ] = None,
    face: Annotated[bool, Option("--face", help="the part around the largest upright face that is found")] = False,
    paste: Annotated[
        Literal["edited", "change"] | None,
        Option(help="write the whole photograph: with the edit in its place, or with only what the edit changes added"),
    ] = None,
    feather: Annotated[
        float, Option(min=0, max=1, help="of --paste: the share of the way to the edge on which it fades out")
    ] = 0.3,
    mask: Annotated[
        Path | None,
        Option(metavar="FILE", help="of --paste: a grey picture of the photograph's size, white: edit here"),
    ] = None,
    encoder: Encoder = None,
    steps: Steps = None,
    space: Space = "w",
    features: Annotated[str | None, Option(help="as of `zoo project`")] = None,
    label: Label = None,
    device: Device = "cpu",
) -> None:
    """Move images along a direction: zoo edit RUN --seeds 3 --direction directions.safetensors:smile --strength 2.

    Of a real photograph: zoo edit RUN photo.jpg --encoder encoder.safetensors --face --paste edited -o new.jpg.
    """
    from zoo.batch import check_numbers, to_unit
    from zoo.use import pictures, styles
    from zoo.use.sample import save_files

    if (image is None) == (seeds is None):
        raise ValueError("give either a picture or --seeds")
    if image is not None:
        _check_kept(image, output)
    of_photograph = {"--box": box, "--eyes": eyes, "--face": face, "--paste": paste, "--mask": mask}
    asked = [name for name, value in of_photograph.items() if value]
    if asked and (image is None or image.suffix == ".safetensors"):
        raise ValueError(f"{asked[0]} is of a photograph: give one in place of {image or '--seeds'}")
    if len(where := [name for name in asked if name in ("--box", "--eyes", "--face")]) > 1:
        raise ValueError(f"{' and '.join(where)} each say which part is edited: leave one out")
    if mask and not paste:
        raise ValueError("--mask is of --paste: give that too, --paste edited")
    strengths = strength or [2.0]
    if infinite := [s for s in strengths if not math.isfinite(s)]:
        raise ValueError(f"--strength={infinite[0]} must be a finite number")
    is_picture = output.suffix.lower() in pictures.FORMATS
    if paste and is_picture and len(strengths) > 1:
        raise ValueError(f"{len(strengths)} strengths make as many photographs: give a folder, -o {output.stem}")
    name, vector = styles.named_direction(direction)
    model, of_class = _styled(run, device, "zoo edit", label)
    like = styles.of_seeds(model, [0], of_class)  # [1, num_ws, w_dim]
    chosen = styles.layers(layers, like.shape[1])
    if len(vector) != like.shape[2]:
        sizes = f"styles have {len(vector)} numbers, and here they have {like.shape[2]}"
        raise ValueError(f"{direction} is of a model whose {sizes}: make it anew, zoo directions {run}")
    signed = [f"{s:+g}" for s in strengths]
    before, above = [], ["0"]  # what is shown beside the edits
    photograph: Any = None
    if image is None:
        numbers = styles.ranges(seeds or "", "--seeds")
        names, ws = [f"seed {number}" for number in numbers], styles.of_seeds(model, numbers, of_class)
    else:
        if image.suffix == ".safetensors":
            ws = styles.load_styles(image)
        else:
            if asked:
                photograph = _Photograph(model, image, of_class, box, eyes, face, mask)
            picture = photograph.part if photograph else _read(model, image, of_class)
            pictures.check_place(output if is_picture else output / "0.png")  # before minutes of search
            nearest = _Inverter(model, features, of_class, encoder, steps, space == "w+").project(picture, str(image))
            ws, before, above = nearest.ws, [picture], ["image", "projection"]
        if ws.shape[1:] != like.shape[1:]:
            raise ValueError(f"{image} has styles of another model: make them anew, zoo project {run}")
        numbers, names = list(range(len(ws))), [image.stem] * len(ws)
    edits = [styles.render(model, styles.edit(ws, vector, s, chosen).to(like)) for s in strengths]
    if paste and image is not None:
        found = styles.render(model, ws.to(like))
        end = image.suffix if image.suffix.lower() in pictures.FORMATS else ".png"
        for text, edited in zip(signed, edits, strict=True):
            target = output if is_picture else output / f"{image.stem}{text}{end}"
            pictures.write(photograph.with_edit(check_numbers(edited), found, paste, feather), target)
    elif is_picture:
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


def _learned_in_words(name: str, one: Any) -> str:
    """How well a learned direction tells examples that it did not see."""
    sentence = f"{name}: correlation {one.correlation:.3f} on the fifth held out"
    if one.accuracy is not None:
        sentence += f", accuracy {one.accuracy:.0%} ({one.chance:.0%} by always naming one)"
    return sentence


def shape_of(model: Any, label: int | None) -> tuple[int, int, int]:
    """Channels, height and width of a model's images."""
    from zoo.use import styles

    channels, height, width = styles.render(model, styles.of_seeds(model, [0], label)).shape[1:]
    return channels, height, width


def _read(model: Any, path: Path, label: int | None) -> Any:
    """A picture [1, C, H, W] as the model would make it; says what was changed."""
    from zoo.data.deep import range_of
    from zoo.use import pictures

    channels, height, width = shape_of(model, label)
    image, changes = pictures.read_centre(path, channels, (height, width), range_of(model.config))
    for change in changes:
        typer.echo(f"{path} {change}")
    return image


def compared_by(model: Any, features: str | None, channels: int) -> tuple[Any, str]:
    """What compares images beside their pixels in a search for styles (`styles.Activations`), and its name.

    Args:
        features: a classifier of this zoo, or "pixels" alone; None: what the run was measured by, if that is one.
        channels: of the images; classifiers take 1 or 3.
    """
    from zoo.metrics.extractors import SmallClassifier

    if features is None:
        metrics = model.config.get("metrics") or {}
        extractor = metrics.get("extractor", {}).get("_target_", "").rpartition(".")[2]
        features = next((c.name for c in SmallClassifier.__subclasses__() if c.__name__ == extractor), "pixels")
    if features == "pixels" or channels not in (1, 3):
        return None, "pixels"
    network = _classifier(features).to(model.device)
    return lambda images: network.activations((images + 1) * 127.5), features


class _Inverter:
    """Finds the styles of real images: by an encoder, by a search, or by one after the other."""

    def __init__(
        self, model: Any, features: str | None, label: int | None, encoder: Path | None, steps: int | None, plus: bool
    ) -> None:
        from zoo.use.encoder import Encoder
        from zoo.use.styles import of_seeds

        if encoder is None and steps == 0:
            raise ValueError(
                "--steps=0 searches for nothing: give an encoder that finds styles at once, --encoder FILE"
            )
        self.model, self.label, self.plus = model, label, plus
        self.steps = (STEPS if encoder is None else NEAR) if steps is None else steps
        self.shape = shape_of(model, label)
        self.num_ws, w_dim = of_seeds(model, [0], label).shape[1:]
        self.encoder = None if encoder is None else Encoder.load(encoder, self.shape, w_dim).to(model.device)
        self.activations, self.measure = compared_by(model, features, self.shape[0])

    def project(self, image: Any, name: str) -> Any:
        """The projection of an image [1, C, H, W]; says how near it is."""
        with progress("project") as track:
            nearest = self._nearest(image, track)
        distances = f"distance {nearest.distance:.4g}, from {nearest.start:.4g} at the mean style"
        typer.echo(f"{name}: {nearest.psnr:.2f} dB; {self.measure} {distances}")
        return nearest

    def _nearest(self, image: Any, track: Any) -> Any:
        from zoo.use import styles
        from zoo.use.encoder import invert

        start = None if self.encoder is None else invert(self.encoder, image, self.num_ws)
        settings: Any = {"steps": self.steps, "plus": self.plus, "activations": self.activations, "label": self.label}
        return styles.project(self.model, image, **settings, start=start, track=track)

    def read_all(self, folder: Path) -> list[Any]:
        """The images of a folder, each [1, C, H, W] at the model's size."""
        from zoo.data.deep import range_of
        from zoo.data.files import check_is_folder, find_images
        from zoo.use import pictures

        check_is_folder(folder, "give a folder of images")
        names = find_images(folder)
        if not names:
            raise ValueError(f"{folder} has no images")
        channels, *size = self.shape
        value_range = range_of(self.model.config)
        return [pictures.read_centre(folder / name, channels, (size[0], size[1]), value_range)[0] for name in names]

    def all_of(self, folder: Path) -> Any:
        """The styles w [N, w_dim] of the images of a folder."""
        import torch

        from zoo.use.encoder import invert

        images = self.read_all(folder)
        if self.encoder is not None and self.steps == 0:
            return invert(self.encoder, torch.cat(images), self.num_ws)[:, 0].cpu()
        with progress(f"invert {folder.name}") as track:
            return torch.cat([self._nearest(image, iter).ws[:, 0] for image in track(images)])


class _Photograph:
    """A photograph, and the part of it that a model edits."""

    def __init__(
        self, model: Any, path: Path, label: int | None, box: str | None, eyes: str | None, face: bool,
        mask: Path | None,
    ) -> None:  # fmt: skip
        from zoo.data.deep import range_of
        from zoo.data.reading import MAX_PIXELS, UnreadableImage, opened
        from zoo.use import pictures, retouch

        if not os.path.lexists(path):
            raise ValueError(f"{path} does not exist: give a picture")
        channels, *sides = shape_of(model, label)
        size, white, value_range = (sides[0], sides[1]), (255, 255, 255), range_of(model.config)
        with opened(path, max_pixels=MAX_PIXELS, value_range=value_range) as image:
            own = {"L": 1, "LA": 2, "RGB": 3}.get(image.mode, 4 if "A" in image.getbands() else 3)
        self.pixels = pictures.read(path, own, white, value_range=value_range)
        whole = self.pixels.shape[2], self.pixels.shape[3]
        try:
            if box:
                numbers = retouch.numbers(box, "--box", [4])
                self.frame = retouch.Frame.of_box(numbers, whole, size)
            elif eyes:
                self.frame = retouch.Frame.of_face(retouch.numbers(eyes, "--eyes", [4, 6]), whole, size)
            else:
                self.frame = retouch.find_face(self.pixels, size) if face else retouch.Frame.whole(whole, size)
            self.frame.check(size)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        of_model = pictures.read(path, channels, white, value_range=value_range)
        self.part = retouch.cut(of_model, self.frame, size)
        self.mask = None
        if mask is not None:
            try:
                self.mask = (pictures.read(mask, 1, (0, 0, 0)) + 1) / 2
            except UnreadableImage as error:
                raise ValueError(f"--mask={error}") from None
            if self.mask.shape[2:] != whole:
                wrong = f"{self.mask.shape[3]}x{self.mask.shape[2]} pixels, and {path} has {whole[1]}x{whole[0]}"
                raise ValueError(f"--mask={mask} has {wrong}: make it as large")

    def with_edit(self, edited: Any, before: Any, how: Any, feather: float) -> Any:
        """The whole photograph with an edit in its place."""
        from zoo.use import retouch

        return retouch.paste(self.pixels, self.frame, edited, before, how=how, feather=feather, mask=self.mask)


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
