"""zoo plan."""

from typing import Annotated

import typer


def plan(
    settings: Annotated[list[str] | None, typer.Argument(metavar="[SETTING]...", help="as train.py takes them")] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="24GB", help="of the GPU that is planned for; by default this machine's"),
    ] = None,
    time: Annotated[bool, typer.Option(help="time twenty steps at each end of the budget on this machine")] = True,
) -> None:
    """What a run would take: parameters, memory at each precision, the largest batch, hours; settings for its images.

    Memory is counted in a few small steps of the very game on this machine, and holds for others; time holds for this
    one alone.
    """
    from zoo.run.plan import in_bytes, plan

    for line in plan(settings or [], None if memory is None else in_bytes(memory), timed=time):
        typer.echo(line)
