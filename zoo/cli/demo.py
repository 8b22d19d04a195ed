"""zoo demo."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from zoo.cli.common import Device, Run

EXAMPLES = 8  # pictures to begin with
LOOKED_AT = 100  # files or test images, at most, to find these


def demo(
    run: Run,
    host: Annotated[str, Option(help="the address to serve on; 0.0.0.0: whoever reaches this machine sees it")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, Option(help="0: any that is free")] = 7860,
    browser: Annotated[bool, Option("--browser/--no-browser", help="show the page in the browser, if there is one")] = (
        True
    ),
    directions: Annotated[
        Path | None, Option(metavar="FILE", help="of `zoo directions`; else the strongest, without names")
    ] = None,
    encoder: Annotated[
        Path | None, Option(metavar="FILE", help="of `zoo encoder`: where searches for styles begin")
    ] = None,
    features: Annotated[str | None, Option(help="what compares images in searches, as of `zoo project`")] = None,
    examples: Annotated[
        Path | None, Option(metavar="FOLDER", help="pictures to begin with; else test images that need no files")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Show in the browser what a model can do: sliders, grids, your own pictures dropped on it. Ctrl-C ends it.

    For this machine alone, by default; nothing is sent anywhere. Needs Gradio: pip install 'gan-zoo[demo]'.
    """
    from zoo.game.abilities import Styles
    from zoo.loading import load
    from zoo.use.demo import server
    from zoo.use.demo.shown import Shown
    from zoo.use.encoder import Encoder
    from zoo.use.styles import Directions, of_seeds
    from zoo.weights.names import file_of, find

    server.check_installed()
    with server.listener(host, port) as sock, server.apart() as folder:
        place = find(run)
        model: Any = load(run, device=device)
        if getattr(model, "missing", None):
            raise ValueError(f"{run} has a discriminator alone, which makes nothing to show: it is for start=")
        settings: dict[str, Any] = {}
        has_styles = isinstance(model, Styles)
        if not has_styles:
            for name, value in (("--directions", directions), ("--encoder", encoder), ("--features", features)):
                if value is not None:
                    raise ValueError(f"{name}={value} is of a model with styles, which {run} is not: leave it out")
        else:
            from zoo.cli.style import compared_by, shape_of

            shape = shape_of(model, None)
            settings["directions"] = None if directions is None else Directions.load(directions)
            w_dim = of_seeds(model, [0]).shape[2]
            settings["encoder"] = None if encoder is None else Encoder.load(encoder, shape, w_dim).to(model.device)
            settings["activations"], _ = compared_by(model, features, shape[0])
        pictures, normal = _beginning(model, place, examples, Path(folder, "examples"), device)
        shown = Shown(model, _name(run), file_of(place), examples=pictures, normal=normal, **settings)
        app = server.application(_page(shown), local=server.is_local(sock))
        url = server.address(sock)
        try:
            with server.serving(app, sock) as ended:
                if not server.is_local(sock):
                    typer.echo(f"on {host} everyone who reaches this machine can use the page, without a password")
                typer.echo(f"{shown.name}: {url} (Ctrl-C ends it)")
                if browser and not server.open_browser(url):
                    typer.echo("no browser is found here: open that address in yours")
                ended.wait()
                raise ValueError("the server has ended by itself: start zoo demo again, with another --port")
        finally:
            shown.ending.set()


def _page(shown: Any) -> Any:
    from zoo.run.command import out_of_memory, sentence
    from zoo.use.demo.page import page

    def explain(error: BaseException) -> str | None:
        if out_of_memory(error):
            return "the memory of the machine does not suffice for this: take a smaller picture, or fewer images"
        return sentence(error, [])

    return page(shown, explain)


def _name(run: Path) -> str:
    """What a model is called: of a run's folder, its last two parts, since the last is a time."""
    return "/".join(run.parts[-2:]) if run.is_dir() and len(run.parts) > 1 else run.name


def _beginning(model: Any, place: Path, folder: Path | None, into: Path, device: str) -> tuple[list[Path], list[float]]:
    """Pictures to begin with, and scores of normal images, where a model is for some.

    They are of `folder`, or of the run's test images, where these come with a package: what a stranger's run names of
    this machine's files is not shown, and nothing is downloaded.
    """
    from zoo.cli.score import scores_of_run
    from zoo.game.abilities import Scores, Styles, Translates, Upscales

    own = [] if folder is None else _readable(folder)
    if not isinstance(model, Styles | Translates | Upscales | Scores) or not _comes_with_a_package(model):
        return own, []
    normal: list[float] = []
    try:
        if isinstance(model, Scores):
            normal, _ = scores_of_run(model, place, device)
        return own or _test_images(model, place, into), normal
    except ValueError:  # of a package that is not here, say: the page goes without
        return own, normal


def _readable(folder: Path) -> list[Path]:
    """The first pictures of a folder, or one, that the page takes; what it does not is said."""
    from zoo.data.reading import opened
    from zoo.use.demo.shown import MOST_PIXELS, check_file
    from zoo.use.pictures import images_of

    within, names = images_of(folder)
    found: list[Path] = []
    passed_over: list[str] = []
    for name in names[:LOOKED_AT]:
        try:
            check_file(within / name)
            with opened(within / name, max_pixels=MOST_PIXELS):  # decoded, all of it
                pass
            found.append(within / name)
        except ValueError as error:
            passed_over.append(str(error))
        if len(found) == EXAMPLES:
            break
    if not found:
        raise ValueError(f"--examples={folder} has no picture that the page takes: {passed_over[0]}")
    for words in passed_over:
        typer.echo(f"passed over: {words}", err=True)
    return found


def _comes_with_a_package(model: Any) -> bool:
    """Whether its run's data are inside a package, and no files."""
    from zoo.cli.measure import completed

    if not (model.config.get("data") or {}).get("_target_") or "seed" not in model.config:
        return False  # an exported file's
    try:
        return not any("root" in name for name in completed("data", model.config, []))
    except ValueError:
        return False


def _test_images(model: Any, place: Path, into: Path) -> list[Path]:
    """Some test images of a model's run, as files; normal ones and others in turn, where it calls some normal."""
    from itertools import chain, islice, zip_longest

    from zoo.batch import ImagePairs, LabelledImages
    from zoo.cli.measure import of_run
    from zoo.data.super_resolution import Photographs
    from zoo.game.abilities import Translates
    from zoo.use.pictures import write

    data, _ = of_run(model, place, [])
    if isinstance(data, Photographs):
        images = [row.batch.low for row in islice(data.whole_images(split="test"), EXAMPLES)]
    else:
        images = []
        of_kinds: tuple[list[Any], list[Any]] = [], []
        for batch in data.evaluation_loader(split="test", num=LOOKED_AT if data.normal else EXAMPLES):
            if isinstance(batch, LabelledImages) and data.normal:
                for image, label in zip(batch.image.split(1), batch.label.tolist(), strict=True):
                    of_kinds[label not in data.normal].append(image)
            elif isinstance(batch, LabelledImages):
                images += batch.image.split(1)
            elif isinstance(batch, ImagePairs):
                starts = {direction[0] for direction in model.directions} if isinstance(model, Translates) else {"X"}
                sides = [getattr(batch, side.lower()).split(1) for side in sorted(starts)]
                images += chain.from_iterable(zip(*sides, strict=True))  # in turn of X and of Y
        images += [image for pair in zip_longest(*of_kinds) for image in pair if image is not None]
    paths = [into / f"example-{number}.png" for number in range(1, len(images[:EXAMPLES]) + 1)]
    for path, image in zip(paths, images, strict=False):
        write(image, path)
    return paths
