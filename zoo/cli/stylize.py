"""zoo stylize."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from zoo.cli.common import Device, meter


def stylize(
    content: Annotated[Path, Argument(metavar="CONTENT", help="the picture whose content is kept")],
    style: Annotated[list[Path], Argument(metavar="STYLE...", help="one or more pictures whose look it gets")],
    output: Annotated[Path, Option("-o", "--output", metavar="OUT", help="a picture")],
    share: Annotated[
        list[float] | None, Option(metavar="X", help="of each STYLE in its order, repeated; by default they are equal")
    ] = None,
    size: Annotated[int | None, Option(min=1, metavar="N", help="first resize: the shorter side to N pixels")] = None,
    style_weight: Annotated[float, Option(help="beta: more of it, less of the content")] = 100.0,
    content_weight: Annotated[float, Option(help="alpha; 0 makes a texture")] = 1.0,
    tv_weight: Annotated[float, Option(help="of total variation: smoother")] = 1.0,
    style_scale: Annotated[float, Option(help="size of the styles' strokes: 0.5 for smaller, 2 for larger ones")] = 1.0,
    start: Annotated[Literal["content", "noise"], Option(help="what the picture begins as")] = "content",
    optimiser: Annotated[Literal["lbfgs", "adam"], Option(help="what brings it down")] = "lbfgs",
    steps: Annotated[int, Option(min=1, help="iterations at the coarsest scale; half at each finer one")] = 200,
    scales: Annotated[
        int | None, Option(min=1, max=12, help="from coarse to fine, each twice the one before; by default by size")
    ] = None,
    tile: Annotated[int, Option(min=64, help="pixels a side that are looked at at once: less needs less memory")] = 512,
    keep_colour: Annotated[bool, Option("--keep-colour", help="change the luminance alone")] = False,
    features: Annotated[
        Literal["auto", "vgg19", "vgg16", "cifar10_classifier"],
        Option(help="whose features; the last one needs no download; auto: VGG19's where they can be had"),
    ] = "auto",
    vgg_weights: Annotated[
        Path | None, Option(metavar="FILE", help="of VGG, such as torchvision's vgg19-dcbb9e9d.pth; else fetched")
    ] = None,
    average_pooling: Annotated[bool, Option("--average-pooling", help="in VGG, as its paper prefers")] = False,
    every: Annotated[
        int | None, Option(min=1, metavar="N", help="write the picture so far every N steps, as OUT-000010.png")
    ] = None,
    seed: Annotated[int, Option(min=0, max=2**62, help="of the noise")] = 0,
    device: Device = "cpu",
) -> None:
    """Redraw a picture in the look of others: neural style transfer (Gatys, Ecker and Bethge 2016).

    zoo stylize photo.jpg painting.jpg -o out.png. By VGG19's features where its weights are here or can be fetched,
    else by those of the classifier of CIFAR-10 that this package ships, whose textures are plainer; which it was
    is said, and written into the picture. Large pictures are made from coarse to fine, in tiles.

    Without pictures of your own: zoo stylize chelsea ihc -o out.png, two photographs that come with this package.

    model=style_transfer trains a network that does it at once, for one style.
    """
    from zoo.data.pixels import photographs
    from zoo.data.reading import picture_named
    from zoo.machine import check_device
    from zoo.use import pictures
    from zoo.use.stylize import Recipe, check, network_of, plan, stylized

    pictures.check_picture(output)
    numbers = {"--style-weight": style_weight, "--content-weight": content_weight, "--tv-weight": tv_weight}
    for name, number in numbers.items():
        if not 0 <= number < math.inf:
            raise ValueError(f"{name}={number} must be a number from 0 on")
    if not style_weight and not content_weight:
        raise ValueError("--style-weight=0 and --content-weight=0 leave nothing to aim at: raise one")
    if not 0.05 <= style_scale <= 20:
        raise ValueError(f"--style-scale={style_scale} must be from 0.05 to 20")
    shares = share or [1.0] * len(style)
    if len(shares) != len(style):
        raise ValueError(f"{len(style)} styles and --share {len(shares)} times: give it once for each, in their order")
    if bad := [number for number in shares if not 0 < number < math.inf]:
        raise ValueError(f"--share={bad[0]} must be positive: leave out a style that has none")
    check_device(device)
    content, style = picture_named(content), [picture_named(path) for path in style]
    for path in (content, *style):
        if not path.exists():
            known = ", ".join(photographs())
            raise ValueError(f"{path} does not exist: give a picture, or a photograph that comes along ({known})")
        if path.resolve() == output.resolve():
            raise ValueError(f"-o {output} would replace {path}: give another name")
    white = (255, 255, 255)
    picture = pictures.read(content, 3, white, size)
    looks = [pictures.read(path, 3, white) for path in style]
    network, why = network_of(features, vgg_weights, average_pooling=average_pooling)
    check(network, picture, looks, [str(content), *map(str, style)])
    recipe = Recipe(
        content_weight=content_weight, style_weight=style_weight, tv_weight=tv_weight, start=start, optimiser=optimiser,
        steps=steps, scales=scales, style_scale=style_scale, keep_colour=keep_colour, tile=tile, seed=seed,
        chunk=math.gcd(every or 10, 10),
    )  # fmt: skip
    total = sum(steps for _, steps in plan(network, (picture.shape[2], picture.shape[3]), recipe))
    by = f"{network.name} ({network.origin})"
    typer.echo(f"features: {by}" + (f", since {why}" if why else ""))
    about = f"style transfer (Gatys et al. 2016) by the features of {by}"
    step, written = None, 0
    with meter(output.name, total) as show:
        for step in stylized(network.to(device), picture, looks, shares, recipe):
            show(step.done, f"{step.size[1]}x{step.size[0]}, style {step.losses['style']:.3f}")
            if every is not None and step.done // every > written and step.done < total:
                written = step.done // every
                part = output.with_name(f"{output.stem}-{step.done:06d}{output.suffix}")
                pictures.write(step.image.cpu(), part, about)
    assert step is not None
    pictures.write(step.image.cpu(), output, about)
    (height, width), errors = step.size, ", ".join(f"{name} {value:.4g}" for name, value in step.losses.items())
    typer.echo(f"{output}: {width}x{height}, {total} steps in {step.scale} scales; by {network.name}: {errors}")
