"""Which data fit which model: held against each other before anything is built, by what both declare."""

import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from zoo.run import CONF

IN_WORDS = {  # of zoo.batch
    "LabelledImages": "single images",
    "ImagePairs": "images of two domains",
    "LowHigh": "images at two resolutions",
}


def check_rows(config: DictConfig) -> None:
    """Hold the rows of the data against those that the model is trained on.

    Looks at the names of the two classes alone, since settings of the one may refer to some of the other's that are not
    there. A model or a set that declares nothing is not looked at.

    Raises:
        ValueError: naming data that fit.
    """
    from zoo.game.abilities import rows_of  # with torch, which takes seconds: --help does without

    model, data = (_class_of(config, group) for group in ("model", "data"))
    if model is None or data is None or _fit(model, data):
        return
    choices = {path.stem: OmegaConf.load(path) for path in sorted((CONF / "data").glob("*.yaml"))}
    fitting = [
        f"data={name}" for name, choice in choices.items() if _fit(model, class_named(choice._target_, of="data"))
    ]
    rows = rows_of(model)
    assert rows is not None
    wanted = "pairs that show the same scene" if model.aligned else IN_WORDS[rows.__name__]
    there = "unpaired images" if model.aligned and data.batch is rows else IN_WORDS[data.batch.__name__]
    raise ValueError(
        f"{model.__name__} is trained on {wanted}, and data={data.name} gives {there}: use {_either(fitting)}"
    )


def _class_of(config: DictConfig, group: str) -> Any:
    target = OmegaConf.select(config, f"{group}._target_")
    return class_named(target, of=group) if target else None


def class_named(target: Any, *, of: str) -> Any:
    """What `_target_` of some settings names: a class, or a function that makes something.

    Raises:
        ValueError: if there is none of that name.
    """
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(f"{of}._target_={target} names no class, as package.module.Class does: {error}") from None


def _fit(model: Any, data: Any) -> bool:
    from zoo.game.abilities import rows_of

    rows, given = rows_of(model), getattr(data, "batch", None)
    if rows is None or given is None:
        return True
    return given is rows and (data.aligned or not model.aligned)


def of_data(settings: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """The settings of a model that are the data's where the configuration leaves them open: classes, attributes.

    Raises:
        ValueError: the model has fewer classes than the data, or other attributes.
    """
    taken: dict[str, Any] = {}
    classes, attributes = data.classes, data.attributes
    if "classes" in settings and settings["classes"] is None:
        taken["classes"] = classes
    elif "classes" in settings and len(settings["classes"]) < len(classes):
        raise ValueError(f"model.classes names {len(settings['classes'])} classes, but the data have {len(classes)}")
    if "attributes" in settings and settings["attributes"] is None:
        taken["attributes"] = attributes or None
    elif "attributes" in settings and list(settings["attributes"]) != attributes:
        raise ValueError(
            f"model.attributes={', '.join(settings['attributes'])} are not those of the data, "
            f"{', '.join(attributes) or 'which have none'}: leave model.attributes out"
        )
    return taken


def check_classes(model: Any, data: Any) -> None:
    """Refuse a model that would be told the same class of every image.

    Raises:
        ValueError: naming where several classes can come from.
    """
    from zoo.game.abilities import classes_of

    if len(classes := classes_of(model)) == 1:
        raise ValueError(
            f"{type(model).__name__} is told the class of each image, but {data.where()} has one class only, "
            f"{classes[0]}: give several (a subfolder for each class, a dataset.json in data.root, or a table, "
            "data.labels=FILE), or train a model without classes, model=dcgan"
        )


def _either(choices: Sequence[str]) -> str:
    return " or ".join([", ".join(choices[:-1]), choices[-1]]) if len(choices) > 1 else "".join(choices)
