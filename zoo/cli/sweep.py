"""The table of `zoo runs` at the end of a sweep: in a page of its own, since it brings Hydra."""

from pathlib import Path
from typing import Any

import typer
from hydra.experimental.callback import Callback

from zoo.cli.table import runs


class SweepTable(Callback):
    """Prints the table of a sweep's runs at its end."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        typer.echo("")
        try:
            runs(folder)
        except ValueError as error:  # a sweep of no run
            typer.echo(error, err=True)
            return
        typer.echo(f"\nonce more: zoo runs {folder}")
