"""zoo runs, and the same table at the end of a sweep."""

from pathlib import Path
from typing import Annotated, Any

import typer
from hydra.experimental.callback import Callback


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="a sweep's folder, outputs, or any above runs")],
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="write the table of the runs there too")] = None,
) -> None:
    """The runs below a folder, the best first: the settings that differ, the best and the last value, and over seeds.

    Over seeds: mean and standard deviation of the best value of the finished runs that differ in their seeds alone.
    """
    from zoo.use.runs import over_seeds, runs_below, table

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


class SweepTable(Callback):
    """Prints the table of a sweep's runs at its end."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        typer.echo("")
        runs(folder)
        typer.echo(f"\nonce more: zoo runs {folder}")
