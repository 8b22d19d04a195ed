"""What several commands share: options, the model that they ask for, classes by name."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from zoo.run import CONF

if TYPE_CHECKING:  # it takes a moment, and `zoo --help` does without
    from rich.progress import Progress


def run_names(incomplete: str) -> list[str]:
    """What a shell is offered for RUN: published names, and the runs below outputs/."""
    from zoo.weights.names import published

    runs = {str(path.parent) for depth in ("*/*", "sweep/*/*") for path in Path("outputs").glob(f"{depth}/.hydra")}
    return [name for name in [*published(), *sorted(runs, reverse=True)] if name.startswith(incomplete)]


Run = Annotated[
    Path,
    Argument(
        metavar="RUN",
        help="a run's folder, a checkpoint, a weights folder, hf:USER/NAME, a published name",
        autocompletion=run_names,
    ),
]
Device = Annotated[str, Option(help="cpu, cuda, mps")]
Seeds = Annotated[str, Option(metavar="SEEDS", help="numbers and ranges, such as 0-7,12")]
Label = Annotated[str | None, Option(metavar="CLASS", help="of this class, by name or number")]
Labels = Annotated[list[str] | None, Option(metavar="CLASS", help="of this class, by name or number; may be repeated")]
Truncation = Annotated[
    float | None, Option(metavar="PSI", help="draw styles towards their mean: 1 not at all, 0 all the way")
]
NOUNS = {  # of each ability: what a model that lacks it does not have
    "FromLatents": "latents",
    "OfClasses": "classes",
    "OfAttributes": "attributes",
    "Truncates": "styles",
    "Styles": "styles",
    "Translates": "directions to translate in",
    "Upscales": "magnification",
    "Scores": "scores",
}


def loaded(run: Path, device: str, ability: type, what: str) -> Any:
    """The trained model of a run, which has the ability that `what`, a command, needs."""
    from zoo.loading import load

    model = load(run, device=device)
    require(model, ability, what)
    if getattr(model, "missing", None):
        raise ValueError(f"{run} has a discriminator alone, which makes no images for {what}: it is for start=")
    return model


def require(model: Any, ability: type, what: str, remedy: str = "") -> None:
    """Refuse a model without the ability that `what` needs, with the remedy; by default, the variants that have it."""
    if not isinstance(model, ability):
        remedy = remedy or f"train {variants_with(ability)}"
        raise ValueError(f"{type(model).__name__} has no {NOUNS[ability.__name__]}, which {what} needs: {remedy}")


def refuse_exported(place: Path, what: str) -> None:
    """Refuse an .onnx file, which has neither networks nor the settings of its run, where `what` needs these."""
    if place.suffix.lower() == ".onnx":
        raise ValueError(
            f"{place} is an exported file, which {what} can't use: give the run, the weights folder or the name that "
            "it was exported from"
        )


def variants_with(ability: type) -> str:
    """The choices of model= whose variants declare an ability, as in "model=a or model=b"."""
    from hydra.utils import get_class
    from omegaconf import OmegaConf

    from zoo.game.abilities import declares

    variants: dict[str, Any] = {path.stem: OmegaConf.load(path) for path in sorted((CONF / "model").glob("*.yaml"))}
    able = [name for name, conf in variants.items() if declares(get_class(conf.model._target_), ability)]
    return " or ".join(f"model={name}" for name in able)


def names_of_classes(model: Any) -> list[str]:
    """The names of a model's classes, by label; refuses a model without any."""
    from zoo.game.abilities import OfClasses, classes_of

    if names := classes_of(model):
        return names
    raise ValueError(
        f"{type(model).__name__} makes images without classes: --label, --all-labels and --per-class are for a "
        f"class-conditional model, such as {variants_with(OfClasses)}, trained on labelled data (by "
        "model.conditional=true where there is that setting)"
    )


def label_of(model: Any, asked: str) -> int:
    """The label of a class by name or number; one that is called 7 goes before the one at position 7."""
    classes = names_of_classes(model)
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


def attributes_asked(model: Any, asked: str | None) -> list[float] | None:
    """The vector of "Smiling=1,Male=0", by the model's attributes, those not named 0; None: it has no attributes."""
    from zoo.game.abilities import attributes_of

    names = attributes_of(model)
    if not names and asked is None:
        return None
    example = f"--attributes {names[0]}=1" if names else "leave --attributes out"
    if not names:
        raise ValueError(f"{type(model).__name__} makes images without attributes: {example}")
    if asked is None:
        raise ValueError(f"{type(model).__name__} was trained on attributes ({', '.join(names)}): give some, {example}")
    vector = dict.fromkeys(names, 0.0)
    for part in asked.split(","):
        name, _, number = (word.strip() for word in part.rpartition("="))
        if name not in vector:
            raise ValueError(f"--attributes={asked}: {name or part} is none of {', '.join(names)}, such as {example}")
        try:
            vector[name] = float(number)
        except ValueError:
            raise ValueError(f"--attributes={asked}: {number} is no number, such as {example}") from None
    return list(vector.values())


@contextmanager
def within_memory(what: str | Path, remedy: str) -> Iterator[None]:
    """Say of what there is too much for the memory, and what to do about it."""
    from zoo.run.command import out_of_memory

    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise ValueError(f"{what}: out of memory: {remedy}") from None


def with_remedy(remedy: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command whose remedy against a want of memory is this one."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(*arguments: Any, **settings: Any) -> None:
            with within_memory(f"zoo {command.__name__.rstrip('_')}", remedy):
                command(*arguments, **settings)

        return run

    return decorate


_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def quietable(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the option --quiet, under which it shows no progress."""

    @wraps(command)
    def run(*arguments: Any, quiet: bool = False, **settings: Any) -> None:
        token = _quiet.set(quiet)
        try:
            command(*arguments, **settings)
        finally:
            _quiet.reset(token)

    option = Annotated[bool, Option("--quiet", help="show no progress on the terminal")]
    own = signature(command)
    added = Parameter("quiet", Parameter.KEYWORD_ONLY, default=False, annotation=option)
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), added])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "quiet": option}
    return run


def bar() -> "Progress":
    """A bar with the time left, on the stderr of a terminal: stdout has results alone. Else, and if quiet, nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = [
        TextColumn("{task.description}", markup=False),  # names of files among them
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(compact=True),
    ]
    return Progress(*columns, transient=True, console=console, disable=_quiet.get() or not console.is_terminal)


@contextmanager
def meter(label: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Shows how much of `total` is done, and a word on it: `show(done, word)`."""
    with bar() as progress:
        task = progress.add_task(label, total=total)
        yield lambda done, word: progress.update(task, completed=done, description=f"{label} {word}".rstrip())


@contextmanager
def counted(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows how much of `total` is done: `seen(number)` tells of that many more."""
    with bar() as progress:
        task = progress.add_task(label, total=total)
        yield lambda number: progress.advance(task, number)


@contextmanager
def progress(label: str) -> Iterator[Callable[[Sequence[Any]], Iterable[Any]]]:
    """Shows how far a loop is: `for x in track(xs)`."""
    with bar() as shown:
        yield partial(shown.track, description=label)


@contextmanager
def watched(preview: Callable[[Any], Any], total: int, label: str = "images") -> Iterator[Callable[[Any], Any]]:
    """A model's `preview`, for an evaluation of `total` images that shows how many have been made."""
    with bar() as progress:
        task, done = progress.add_task(label, total=total), 0

        def shown(batch: Any) -> Any:
            nonlocal done
            made = preview(batch)
            done += len(batch.index)
            word = label if done < total else f"{label}, computing"
            progress.update(task, completed=min(done, total), description=word)
            return made

        yield shown
