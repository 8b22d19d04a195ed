"""The `zoo` command: training, and what comes before and after it. RUN: a run, a checkpoint, weights, or a name.

Everything heavy is imported inside the commands, so that `zoo --help` and `zoo list` answer at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.common import quietable, with_remedy
from zoo.cli.compare import compare
from zoo.cli.convert import translate, upscale
from zoo.cli.demo import demo
from zoo.cli.export import export
from zoo.cli.generate import sample
from zoo.cli.measure import evaluate
from zoo.cli.plan import plan
from zoo.cli.publish import publish
from zoo.cli.report import report
from zoo.cli.score import score
from zoo.cli.style import directions, edit, encoder, interpolate, mix, project
from zoo.cli.stylize import stylize
from zoo.cli.table import runs
from zoo.cli.training import FORWARDED, complete_in_bash, train
from zoo.cli.weights import import_
from zoo.text import trains

app = typer.Typer(
    help=(__doc__ or "").splitlines()[0],
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
SHOW_PROGRESS = (sample, translate, stylize, upscale, score, evaluate, compare, publish, encoder, project, directions)

app.command(context_settings=FORWARDED)(train)


def _say_version(is_wanted: bool) -> None:
    if is_wanted:
        from zoo.run.account import versions

        rows = sorted(versions().items(), key=lambda row: row[0] != "gan-zoo")
        typer.echo(", ".join(f"{name} {number}" for name, number in rows))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="show the versions and exit")
    ] = False,
) -> None: ...


FEWER_SEEDS = "give fewer seeds at once"
for command, remedy in (  # and what to do where memory does not suffice
    (sample, "draw fewer images at once, -n"),
    (translate, "--size makes images smaller first"),
    (stylize, "smaller tiles need less, --tile, or --size makes pictures smaller first"),
    (upscale, "smaller tiles need less, --tile"),
    (score, "close other programs, or take another --device"),
    (evaluate, "give a smaller batch, such as metrics.batch_size=16"),
    (compare, "give a smaller batch, such as metrics.batch_size=16"),
    (publish, "give a smaller batch, such as metrics.batch_size=16"),
    (plan, "give data.batch_size=, or --no-time"),
    (runs, "give fewer folders"),
    (report, "close other programs"),
    (interpolate, FEWER_SEEDS),
    (mix, FEWER_SEEDS),
    (encoder, "give a narrower one, --width 16"),
    (project, "close other programs, or take another --device"),
    (directions, "ask for fewer directions, -n"),
    (edit, FEWER_SEEDS),
    (export, "close other programs, or take a machine with more"),
    (import_, "close other programs"),
    (demo, "close other programs, or take another --device"),
):
    remedied = with_remedy(remedy)(command)
    app.command(command.__name__.rstrip("_"))(quietable(remedied) if command in SHOW_PROGRESS else remedied)


@app.command("list")
def list_() -> None:
    """Variants, data sets, metrics and recipes, as training takes them; and which need a download."""
    from zoo.run.config import choices
    from zoo.run.downloads import downloads

    for group in ("model", "data", "loss", "regularizer", "augment", "metrics", "trainer", "logger", "experiment"):
        rows = choices(group)
        for name, headline in rows.items():
            if size := downloads(group, name):
                rows[name] = f"{headline.removesuffix(',')}{'' if headline[-1] in '.:' else ' ...'} Downloads {size}."
        width = max(map(len, rows)) + 2
        typer.echo("\n".join([f"{group}=", *(f"  {name:<{width}}{headline}" for name, headline in rows.items())]))
    from zoo.use.published import rows as published

    of_names = (
        "published weights, which come with the package, for zoo sample NAME, zoo.load(NAME), wherever RUN stands"
    )
    typer.echo("\n".join([of_names, *published()]))
    typer.echo(f"\nexample: {trains()} model=vanilla data=mnist max_images=1_000_000")


@app.command("check-data")
def check_data(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="of images or shards, 'train-*.tar', a .zip, .tar, .npz or .npy")
    ],
    image_size: Annotated[int, typer.Option(min=1, help="the size to train at")] = 64,
) -> None:
    """Look through a folder or an archive of images before hours are spent: what is broken, too small, there twice."""
    from zoo.data.check import check_folder

    report = check_folder(str(folder), image_size=image_size)
    typer.echo("\n".join(report.lines()))
    if not report.ok:
        raise typer.Exit(1)


def main() -> None:
    """The entry point: a mistake of the user's is a sentence, not a traceback."""
    from zoo.run.signals import Left, unwinding

    if complete_in_bash():
        return
    try:
        with unwinding():
            app(prog_name="zoo")
    except (Exception, Left) as error:
        from zoo.run.command import readable_errors  # late: it brings Hydra

        with readable_errors("zoo", interrupted=""):
            raise error
    except KeyboardInterrupt:  # while modules are loaded
        raise SystemExit(130) from None
