"""zoo runs."""

from pathlib import Path
from typing import Annotated

import typer


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="a sweep's folder, outputs, or any above runs")],
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="write the table of the runs there too")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="a page for a browser: their grids side by side, and the table")
    ] = None,
) -> None:
    """The runs below a folder, the best first: the settings that differ, the best and the last value, and over seeds.

    Over seeds: mean and standard deviation of the best value of the finished runs that differ in their seeds alone.
    """
    from zoo.use.runs import over_seeds, runs_below, table

    if html and (html.is_dir() or html.suffix.lower() not in (".html", ".htm")):
        raise ValueError(f"--html {html} must be a page, such as runs.html")
    found, passed_over = runs_below(folder.expanduser())
    of_runs = table(found)
    typer.echo("\n".join(of_runs.lines()))
    if summary := over_seeds(found):
        typer.echo("\n".join(["", *summary.lines()]))
    for name, why in sorted(passed_over.items()):
        typer.echo(f"passed over: {name}: {why}", err=True)
    if csv:
        of_runs.write_csv(csv.expanduser())
        typer.echo(f"written: {csv}")
    if html:
        from zoo.use.side_by_side import write_page

        place = html.expanduser()
        try:
            write_page(found, passed_over, place, title=f"Runs in {folder.name or folder}")
        except OSError as error:
            raise ValueError(f"--html {html} can't be written ({error.strerror or error})") from error
        typer.echo(f"written: {html}")
