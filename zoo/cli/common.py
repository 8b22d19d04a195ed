"""What several commands share: options, classes by name, checks, and files of images."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Run = Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder, or a checkpoint file")]
Device = Annotated[str, typer.Option(help="cpu, cuda, mps")]
CONF = Path(__file__).parents[2] / "conf"
Seeds = Annotated[str, typer.Option(metavar="SEEDS", help="numbers and ranges, such as 0-7,12")]
Label = Annotated[str | None, typer.Option(metavar="CLASS", help="of this class, by name or number")]
Truncation = Annotated[
    float | None, typer.Option(metavar="PSI", help="draw styles towards their mean: 1 not at all, 0 all the way")
]
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def classes_of(model: Any) -> list[str]:
    """The names of a model's classes, by label."""
    names = model.hparams.get("classes")
    if not names or model.hparams.get("condition_dim"):
        raise ValueError(
            f"{type(model).__name__} makes images without classes: --label, --all-labels and --per-class are for a "
            "class-conditional model, such as model=cgan trained on labelled data"
        )
    return names


def labels_of(model: Any, asked: list[str]) -> list[int]:
    """The labels that are meant by names or numbers; a class that is called 7 goes before the one at position 7."""
    return [label_of(name, classes_of(model)) for name in asked]


def label_of(asked: str, classes: list[str]) -> int:
    if asked in classes:
        return classes.index(asked)
    if asked.isdecimal() and int(asked) < len(classes):
        return int(asked)
    lower = [name.lower() for name in classes]
    near = difflib.get_close_matches(asked.lower(), lower, n=1)
    hint = f": did you mean {classes[lower.index(near[0])]}?" if near else ""
    shown = [f"{label} {name}" if name != str(label) else name for label, name in enumerate(classes)]
    listed = ", ".join(shown if len(shown) <= 20 else [*shown[:20], "..."])
    raise ValueError(f"--label={asked} is none of the {len(classes)} classes ({listed}){hint}")


def has_classes(model: Any) -> bool:
    return bool(model.hparams.get("classes")) and not model.hparams.get("condition_dim")


def one_label(model: Any, asked: str | None) -> int | None:
    """The label that is meant; None, where none is asked for: each seed's own."""
    return None if asked is None else label_of(asked, classes_of(model))


def seed_numbers(text: str, name: str) -> list[int]:
    from zoo.use.styles import ranges

    return ranges(text, name)


def check_picture(output: Path) -> None:
    from zoo.use.pictures import make_folder

    if output.suffix.lower() not in PICTURES:
        raise ValueError(f"-o {output} must be a picture, such as {output.stem}.png")
    make_folder(output)


def check_styles(model: Any, what: str, remedy: str = "train model=stylegan_lite") -> None:
    if not hasattr(model, "styles"):
        raise ValueError(f"{type(model).__name__} has no styles, which {what} needs: {remedy}")


def styles_of(model: Any, seeds: Sequence[int], label: int | None, truncation: float | None = None) -> Any:
    """The styles ws [N, num_ws, w_dim] of seeds, truncated towards their mean."""
    ws = model.styles(list(seeds), None if label is None else [label] * len(seeds))
    return ws if truncation is None else model.best.truncate(ws, truncation)


def check_output(source: Path, folder: Path, output: Path, targets: dict[str, Path]) -> None:
    """Refuse results, by the names of the images in `folder`, that would not lie in a folder apart.

    Raises:
        ValueError: `output` is a file, or within the images' folder, or a result would replace an image or another.
    """
    inputs = {(folder / name).resolve() for name in targets}
    within = source.is_dir() and output.resolve().is_relative_to(source.resolve())
    if within or any(target.resolve() in inputs for target in targets.values()):
        raise ValueError(f"-o {output} lies within {source}, whose images stay as they are: give another folder")
    if output.is_file():
        raise ValueError(f"-o {output} is a file: give a folder, the results keep the names of the images")
    written = Counter(targets.values())
    if twice := [name for name, target in targets.items() if written[target] > 1]:
        raise ValueError(f"{', '.join(twice)} would all be written as {targets[twice[0]]}: rename one, or move it away")


def folder_name(name: str) -> str:
    """A class's name as a folder's: `T-shirt/top` is `T-shirt_top`."""
    return re.sub(r'^\.|[/\\:*?"<>|\0]', "_", name)


def write_images(images: Any, folder: Path, seeds: Sequence[int]) -> None:
    """Images [N, C, H, W] in [0, 1] as FOLDER/<seed>.png."""
    from torchvision.transforms.functional import to_pil_image

    folder.mkdir(parents=True, exist_ok=True)
    for i, image in zip(seeds, images.mul(255).round().byte(), strict=True):
        to_pil_image(image).save(folder / f"{i:06d}.png")
