"""The `zoo` command: what comes after training, and before it. RUN is a run's folder or a checkpoint file.

Everything heavy is imported inside the commands, so that `zoo --help` and `zoo list` answer at once.
"""

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


@app.command("list")
def list_() -> None:
    """Variants, data sets, metrics and recipes, as train.py takes them."""
    for group in ("model", "data", "metrics", "trainer", "logger", "experiment"):
        typer.echo(f"{group}=")
        for path in sorted((CONF / group).glob("*.yaml")):
            typer.echo(f"  {path.stem:<18}{_headline(path)}")
    typer.echo("\nexample: python train.py model=vanilla data=mnist max_images=1_000_000")


@app.command()
def sample(
    run: Run,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="how many images")] = 64,
    output: Annotated[Path, typer.Option("-o", "--output", help="a picture, or a folder for one file an image")] = Path(
        "samples.png"
    ),
    seed: Annotated[int, typer.Option(min=0, help="the first image's seed; the others' follow it")] = 0,
    device: Device = "cpu",
) -> None:
    """Draw images from a trained generator: a grid if OUTPUT has a picture's extension, else a folder of PNG files."""
    from torchvision.transforms.functional import to_pil_image
    from torchvision.utils import make_grid, save_image

    from zoo.checkpoint import load

    picture = output.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
    images = load(run, device=device).sample(number, seed=seed)
    if picture:
        output.parent.mkdir(parents=True, exist_ok=True)
        if images.shape[1] not in (1, 3):  # a grid is for looking at: grey or colour, without alpha
            images = images[:, : 1 if images.shape[1] == 2 else 3]
        save_image(make_grid(images, nrow=round(number**0.5), padding=2, pad_value=0.5), output)
    else:
        output.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(images, start=seed):
            to_pil_image(image).save(output / f"{i:06d}.png")
    typer.echo(f"{number} images, seeds {seed} to {seed + number - 1}: {output}")


@app.command()
def evaluate(
    run: Run,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="settings to change, such as metrics.num_fake=10_000 or metrics=inception"),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Measure a trained generator once more, by the protocol of its run, and print every value with that protocol."""
    from hydra.utils import instantiate

    from zoo import checkpoint

    path = checkpoint.find(run)
    model = checkpoint.load(path, device=device)
    config = _with(checkpoint.read(path)["zoo"]["config"], overrides or [])
    if not config["metrics"]:
        raise ValueError(
            f"{path} was trained with metrics=none; name some, as in: zoo evaluate {run} metrics=inception"
        )
    data, evaluation = instantiate(config["data"], _convert_="all"), instantiate(config["metrics"], _convert_="all")
    data.prepare_data()
    data.setup("validate")
    evaluation.prepare()
    result = evaluation.evaluate(model.preview, data, device=device, protocol={"generator": "EMA"})
    typer.echo(f"{path}, {model.images:,} images")
    for name, value in (result.values | result.protocol).items():
        typer.echo(f"  {name:<20} {value:.6g}" if isinstance(value, float) else f"  {name:<20} {value}")


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
