"""A trained model for elsewhere: zoo export."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from zoo.cli.common import Run, loaded, refuse_exported

ESRGAN = (".pth", ".safetensors")


def export(
    run: Run,
    output: Annotated[
        Path,
        Option(
            "-o",
            "--output",
            metavar="FILE",
            help="FILE.onnx, .pt2, .pt, .torchscript; of ESRGAN's network also .pth, .safetensors",
        ),
    ],
    direction: Annotated[
        str | None, Option(help="of a translator: X->Y or Y->X (quoted, for the shell); the first one by default")
    ] = None,
    time: Annotated[bool, Option("--time", help="also measure its speed beside torch, on one thread")] = False,
) -> None:
    """Write a trained model as one file that opens without this project: ONNX, torch.export or TorchScript.

    Latents or images go in, images in [0, 1] come out, of any number and, where images go in, of any size; FILE says in
    its metadata what is what. It is run beside the model before it is kept. An .onnx file is a RUN for zoo sample,
    zoo translate and zoo upscale.

    A super-resolution network of ESRGAN's layers is also written as the weights file that other programs enlarge with,
    .pth or .safetensors, by the names that they know.
    """
    refuse_exported(run, "zoo export")
    if output.suffix.lower() in ESRGAN:
        _as_esrgan(run, output, direction or time)
        return
    from zoo.game.abilities import Scores
    from zoo.use.export import FORMATS, check_target, speed
    from zoo.use.export import export as write
    from zoo.use.pictures import check_place

    check_target(output)
    check_place(output)
    model = loaded(run, "cpu", object, "zoo export")
    report = write(model, output, direction=direction)
    sides = lambda values: ", ".join(
        f"{name} [{', '.join(map(str, value['shape']))}]" for name, value in values.items()
    )
    way = f" {report.card['direction']}" if "direction" in report.card else ""
    typer.echo(f"{output}: {report.card['variant']}{way} as {FORMATS[output.suffix.lower()]}, {report.size:,} bytes")
    typer.echo(f"{sides(report.card['inputs'])} -> {sides(report.card['outputs'])}; images in [0, 1]")
    typer.echo(f"largest difference from the model: {report.difference:.1e} (of batches of {'; '.join(report.tried)})")
    if isinstance(model, Scores):
        typer.echo(f"its scores are not in the file: zoo score {run} FOLDER")
    if time:
        of_torch, of_file = speed(model, output, direction=direction)
        typer.echo(
            f"on one thread: {of_file:.3g} s, {of_torch / of_file:.2f} times as fast as torch ({of_torch:.3g} s)"
        )


def _as_esrgan(run: Path, output: Path, more: object) -> None:
    """Weights in the names of ESRGAN's code, read back before they are kept."""
    import torch

    from zoo.formats import basicsr
    from zoo.game.abilities import Upscales
    from zoo.run import checkpoint, foreign
    from zoo.use.pictures import whole

    if more:
        raise ValueError(f"-o {output} are weights: leave --direction and --time out")
    model = loaded(run, "cpu", Upscales, f"zoo export -o FILE{output.suffix}")
    state = basicsr.as_esrgan(model.state_dict(), model.hparams)
    with whole(output) as part, torch.no_grad():
        basicsr.save(part, state)
        back = checkpoint.built(foreign.read([part])[0]).eval()
        images = torch.rand(2, model.channels, 17, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
        difference = float((back.upscale(images) - model.upscale(images)).abs().max()) / 2  # type: ignore[operator]
        if not difference <= 1e-4:
            raise ValueError(f"{output} would enlarge otherwise than the model, by {difference:.2g}: it is not kept")
    typer.echo(f"{output}: weights in the names of ESRGAN's code, {output.stat().st_size:,} bytes; images in [0, 1]")
    typer.echo(f"largest difference from the model: {difference:.1e}")
