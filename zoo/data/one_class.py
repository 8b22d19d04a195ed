"""The one-class protocol: train on images of normal classes alone, test on all classes, of which the others are
abnormal. Any set whose images have classes takes it, `data.normal=[3]`."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.data.files import MissingData
from zoo.data.sources import Source, Split


def position(classes: Sequence[str], asked: str | int) -> int | None:
    """The label of a class by name or number; one that is called 7 goes before the one at position 7. None: no such."""
    word = str(asked)
    if word in classes:
        return list(classes).index(word)
    return int(word) if word.isdecimal() and int(word) < len(classes) else None


def normal_labels(
    classes: Sequence[str], asked: Sequence[str | int], where: str, root: Path | None = None
) -> list[int]:
    """The labels of the classes that are called normal, each once.

    Args:
        where: the set as a message names it.
        root: its folder.

    Raises:
        MissingData: there are no classes, or not this one.
        ValueError: none is named, or all are, so that nothing is abnormal.
    """
    if not classes:
        raise MissingData(
            f"data.normal={_listed(asked)} names classes, and {where} has none: use data=labelled_folder, a table of "
            "labels, data.labels=FILE, or a labelled folder of test images, data.test_root=FOLDER."
        )
    if not asked:
        raise ValueError(
            "data.normal=[] names no class: name those that are normal, such as "
            f"data.normal=[{classes[0]}], or give null for an ordinary set."
        )
    labels: list[int] = []
    for name in asked:
        label = position(classes, name)
        if label is None and root is not None and (root / str(name)).is_dir():
            raise MissingData(f"data.normal={_listed(asked)}: {root / str(name)} holds no image: add some.")
        if label is None:
            near = difflib.get_close_matches(str(name).lower(), [known.lower() for known in classes], n=1)
            hint = next((f": did you mean {known}?" for known in classes if near == [known.lower()]), ".")
            known = ", ".join([*classes[:20], *(["..."] if len(classes) > 20 else [])])
            raise MissingData(f"data.normal={_listed(asked)}: {name} is no class of {where}, which has {known}{hint}")
        labels.append(label)
    labels = sorted(set(labels))
    if len(labels) == len(classes):
        every = f"all {len(classes)} classes" if len(classes) > 1 else f"{classes[0]}, the only class"
        raise ValueError(
            f"data.normal={_listed(asked)} calls {every} of {where} normal, so that none is abnormal: "
            f"{'leave one out' if len(classes) > 1 else 'add images of another'}."
        )
    return labels


class OneClass(Source):
    """Another source, of whose training images those of the normal classes are left.

    Args:
        source: whose images have classes.
        normal: names or numbers of the normal classes.
        classes: of the set, where they are known without its source.
        name: of the set.
    """

    def __init__(self, source: Source, normal: Sequence[str | int], classes: Sequence[str], name: str) -> None:
        self.source, self.normal, self.known, self.name = source, normal, classes, name
        self.reading, self.no_test_remedy = source.reading, source.no_test_remedy

    def prepare(self) -> None:
        self.source.prepare()

    def splits(self) -> dict[Split, Any]:
        """Those of the source, of "train" the normal images.

        Raises:
            MissingData: a normal class without a training image, or as the source.
            ValueError: attributes in place of classes, or as `normal_labels`.
        """
        splits = dict(self.source.splits())
        if self.attributes:
            raise ValueError(
                f"data.normal={_listed(self.normal)} names classes, and the labels of {self.where} are attributes "
                f"({', '.join(self.attributes[:10])}): data.label_column=NAME picks a column of classes."
            )
        labels: Tensor = splits["train"].labels
        rows = [(labels == label).nonzero().flatten() for label in self.labels]
        for label, of_class in zip(self.labels, rows, strict=True):
            if not len(of_class) and not self.source.all_normal:
                raise MissingData(
                    f"data.normal={_listed(self.normal)}: {self.where} has no training image of class "
                    f"{self.classes[label]}: add some, or leave it out."
                )
        chosen = sorted(row for of_class in rows for row in of_class.tolist())
        return {**splits, "train": splits["train"].taken(chosen)}

    def parameters(self) -> dict[str, Any]:
        return {**self.source.parameters(), "normal": [self.classes[label] for label in self.labels]}

    @property
    def labels(self) -> list[int]:
        """Those of the normal classes."""
        return normal_labels(self.classes, self.normal, self.where, self.source.labelled_root)

    @property
    def where(self) -> str:
        """The set as a message about its classes names it."""
        root = self.source.labelled_root
        return f"data={self.name} ({root})" if root else f"data={self.name}"

    @property
    def root(self) -> Path | None:  # type: ignore[override]
        return self.source.root

    @property
    def classes(self) -> list[str]:  # type: ignore[override]
        return list(self.known) or self.source.classes

    @property
    def attributes(self) -> list[str]:  # type: ignore[override]
        return self.source.attributes

    @property
    def remarks(self) -> list[str]:  # type: ignore[override]
        return self.source.remarks


def _listed(names: Sequence[str | int]) -> str:
    return f"[{','.join(map(str, names))}]"
