"""What a table says of images: a class each, or several attributes. Imports neither torch nor Lightning.

Two forms are read.

- CSV: a header, then a row an image. The column of FILES, or else the first, names the image. One other column is its
  class, in words or whole numbers; several are its attributes, numbers such as 0 and 1. Commas, semicolons or tabs;
  UTF-8, or UTF-16 with its mark. CelebA's own list_attr_celeba.txt, whose columns are separated by blanks below a line
  with their number, is such a table too.
- dataset.json of StyleGAN2-ADA (github.com/NVlabs/stylegan2-ada-pytorch, dataset_tool.py): {"labels": [[file, 6], ...]}
  or a mapping; a number or a vector for each image. null: there are no labels. `classes` or `label_names` beside it
  names the classes by number, or the vector's entries.

A row finds its image by its path below the root; where no row does, by the name without folders, then by the path and
the name without extension, as far as these tell the images apart.
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from zoo.data.files import EXTENSIONS, MissingData, opened_regular, why_not_opened

FILES = (
    "file",
    "filename",
    "file_name",
    "path",
    "filepath",
    "file_path",
    "image",
    "image_id",
    "image_path",
    "img",
    "id",
)
CLASSES = ("class", "label", "category", "target", "class_name", "label_name", "y")  # of several, the one that is taken
NAMES = ("classes", "label_names", "class_names")  # in a dataset.json
DEPTH = 10_000_000  # the longest row of a table, in characters


@dataclass(frozen=True)
class Labels:
    """What is known of the images of a set, in the order of `files`."""

    files: Sequence[str]  # relative to the root
    values: np.ndarray  # int64 [N], classes; or float32 [N, A], attributes
    classes: list[str] = field(default_factory=list)  # names by label; empty where there are attributes
    attributes: list[str] = field(default_factory=list)  # names of the columns of `values`
    remarks: list[str] = field(default_factory=list)  # what to say of them


@dataclass(frozen=True)
class Table:
    """A label or several numbers for each of some images."""

    name: str  # as a message calls it
    files: list[str]  # as the table names them
    values: list[Any]  # a class each, text or a number; or a list of numbers each
    names: list[str]  # of the attributes where values are lists; else of the classes by number, or empty


def of_table(table: Table, files: Sequence[str], root: Any, *, skip: bool) -> Labels:
    """The labels of `files` in a table.

    Args:
        files: the images, relative to `root`.
        skip: leave images without a label out, in place of an error.

    Raises:
        MissingData: the table has no image of the root, not all, or says two things of one; values that are no numbers.
    """
    rows = _rows_by_file(table, files, root)
    alone = [file for file in files if file not in rows]
    remarks = []
    if alone:
        number = f"{len(alone):,} of {len(files):,} images of {root} have no label in {table.name} (first {alone[0]})"
        if not skip:
            raise MissingData(f"{number}: add them, or leave such images out with data.on_error=skip.")
        remarks.append(f"{number} and are left out (data.on_error=skip)")
    if more := len(table.files) - len(rows):
        used = set(rows.values())
        first = next((file for row, file in enumerate(table.files) if row not in used), None)
        if first is not None:
            remarks.append(f"{more:,} rows of {table.name} have no image in {root}, or repeat one (first {first})")
    labelled = [file for file in files if file in rows]
    labels = of_values([table.values[rows[file]] for file in labelled], table.names, labelled, table.name)
    return replace(labels, remarks=remarks)


def of_values(values: Sequence[Any] | np.ndarray, names: Sequence[str], files: Sequence[str], where: str) -> Labels:
    """Classes of one value an image, or attributes of several; see `Labels`.

    Args:
        names: of the attributes where there are several; else of the classes by number, or empty.
        where: what says so, for messages.
    """
    if isinstance(values, np.ndarray):
        values = values.reshape(-1).tolist() if values.ndim == 1 or values.shape[1:] == (1,) else values.tolist()
    if len(values) != len(files):
        raise MissingData(f"{where} has {len(values):,} labels for {len(files):,} images.")
    if any(isinstance(value, list | tuple) for value in values):
        return _attributes(values, names, files, where)
    numbers = [_number(value) for value in values]
    if any(number is None for number in numbers):
        words = [str(value) for value in values]
        if "" in words:
            raise MissingData(f"{where} has no class for {files[words.index('')]}: fill it in, or take the row out.")
        classes: list[Any] = sorted(set(words))
        positions = {name: label for label, name in enumerate(classes)}
        return Labels(files, np.array([positions[word] for word in words], np.int64), classes)
    wrong = next((n for n, number in enumerate(numbers) if not np.isfinite(number)), None)  # type: ignore[arg-type]
    if wrong is not None:
        raise MissingData(f"{where} has {values[wrong]} as the label of {files[wrong]}: give a number or a name.")
    if any(number != int(number) for number in numbers):  # type: ignore[arg-type]
        return _attributes([[number] for number in numbers], [], files, where)
    whole = [int(number) for number in numbers]  # type: ignore[arg-type]
    numbers_there = sorted(set(whole))
    if names and not 0 <= numbers_there[0] <= numbers_there[-1] < len(names):
        raise MissingData(
            f"{where} names {len(names)} classes, but has labels from {numbers_there[0]} to {numbers_there[-1]}."
        )
    known = {number: label for label, number in enumerate(numbers_there)}
    classes = [names[number] if names else str(number) for number in numbers_there]
    return Labels(files, np.array([known[number] for number in whole], np.int64), classes)


def of_folders(files: Sequence[str], root: Any, empty: Sequence[str] = ()) -> Labels:
    """The first folder of each image as its class.

    Args:
        empty: class folders that hold no image.

    Raises:
        MissingData: images outside any folder, or folders that are splits.
    """
    loose = [file for file in files if "/" not in file]
    if loose:
        raise MissingData(
            f"{root} holds images outside any class folder ({len(loose):,}, first {loose[0]}): "
            "data=labelled_folder wants root/<class>/<image>, a dataset.json in it, or a table of labels, "
            "data.labels=FILE. Use data=folder for images without labels."
        )
    words = [file.split("/", 1)[0] for file in files]
    classes = sorted(set(words))
    if {name.lower() for name in classes} <= {"train", "test", "val", "valid", "validation"}:
        raise MissingData(
            f"{root} holds splits ({', '.join(classes)}), not classes: "
            f"set data.root={root}/{classes[-1]}, or whichever of them is to be trained on."
        )
    number = {name: label for label, name in enumerate(classes)}
    remarks = [f"folders of {root} without an image are no classes: {', '.join(empty[:10])}"] if empty else []
    return Labels(files, np.array([number[word] for word in words], np.int64), classes, remarks=remarks)


def read_table(content: bytes, name: str, columns: Sequence[str]) -> Table | None:
    """A table of labels from the bytes of its file.

    Args:
        name: of the file; .json is read as a dataset.json, anything else as CSV.
        columns: of a CSV, those to take; empty: all.

    Returns:
        None where a dataset.json says that there are no labels.

    Raises:
        MissingData: naming what is wrong with it.
    """
    if not content.strip():
        raise MissingData(f"{name} is empty: it has to name each image with its label.")
    text = _decoded(content, name)
    if name.lower().endswith(".json"):
        if columns:
            raise MissingData(f"{name} has no columns: leave data.label_column out.")
        return _of_json(text, name)
    return _of_csv(text, name, columns)


def _decoded(content: bytes, name: str) -> str:
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise MissingData(f"{name} is not UTF-8 text (line {line}): save it as UTF-8.") from None
    if "\0" in text:
        raise MissingData(f"{name} is no text: give a CSV with a header such as file,class, or a dataset.json.")
    return text


def _of_json(text: str, name: str) -> Table | None:
    shape = '{"labels": [["00000/img00000000.png", 6], ...]}'
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, json.JSONDecodeError) else "numbers or lists beyond all bounds"
        raise MissingData(f"{name} is no JSON ({why}): it has to be {shape}.") from None
    if not isinstance(content, dict) or "labels" not in content:
        raise MissingData(f"{name} has no labels: it has to be {shape}.")
    labels = content["labels"]
    if labels is None:
        return None
    items = list(labels.items()) if isinstance(labels, dict) else labels
    if not isinstance(items, list) or not items:
        raise MissingData(f"{name} has no labels: it has to be {shape}.")
    for item in items:
        if not isinstance(item, list | tuple) or len(item) != 2 or not isinstance(item[0], str):
            raise MissingData(f"{name} has {_short(item)} among its labels: they have to be {shape}.")
        if not isinstance(item[1], str | int | float | list) or isinstance(item[1], bool):
            raise MissingData(
                f"{name} has {_short(item[1])} as the label of {item[0]}: give a number or a list of them."
            )
    names: Any = next((content[key] for key in NAMES if content.get(key)), [])
    if isinstance(names, dict) and all(str(key).isdecimal() for key in names):  # {"0": "cat", ...}
        by_number = {int(key): value for key, value in names.items()}
        names = [by_number.get(number, str(number)) for number in range(min(max(by_number) + 1, 100_000))]
    if not isinstance(names, list):
        raise MissingData(f"{name} has {_short(names)} as the names of its classes: give a list, in their order.")
    return Table(name, [file for file, _ in items], [label for _, label in items], [str(one) for one in names])


def _of_csv(text: str, name: str, columns: Sequence[str]) -> Table:
    header, rows = _cells(text, name)
    lower = [title.lower() for title in header]
    of_file = next((lower.index(title) for title in FILES if title in lower), 0)
    others = [n for n in range(len(header)) if n != of_file]
    if twice := [title for title, number in Counter(header).items() if number > 1]:
        raise MissingData(f"{name} has several columns called {twice[0] or 'nothing'}: give each a name of its own.")
    if not others:
        raise MissingData(
            f"{name} has one column only, {_short(header[0])}: below a header such as file,class it has to name each "
            "image and its class."
        )
    if header[of_file].lower().endswith(EXTENSIONS):
        raise MissingData(
            f"{name} begins with a row, {_short(','.join(header))}, not with a header: put one above it, such as "
            "file,class."
        )
    if not rows:
        raise MissingData(f"{name} has a header, and no rows below it.")
    if columns:
        if unknown := [title for title in columns if title not in header]:
            raise MissingData(
                f"data.label_column={unknown[0]} is no column of {name}: it has {', '.join(header[n] for n in others)}."
            )
        others = [header.index(title) for title in columns]
    elif len(others) > 1 and (named := [lower.index(title) for title in CLASSES if title in lower]):
        others = named[:1]
    files = [row[of_file] for row in rows]
    values: list[Any] = [[row[n] for n in others] for row in rows]
    if len(others) == 1 and not _are_amounts(value for (value,) in values):
        return Table(name, files, [value.strip() for (value,) in values], [])
    return Table(name, files, values, [header[n] for n in others])


def _cells(text: str, name: str) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV, each row as long as the header."""
    first, _, rest = text.lstrip("\r\n").partition("\n")
    if first.strip().isdecimal() and rest:  # CelebA's: how many rows, the attributes' names, and then one column more
        header = ["file", *rest.partition("\n")[0].split()]
        rows = [line.split() for line in rest.splitlines()[1:] if line.strip()]
    else:
        delimiter = max((",", ";", "\t"), key=first.count)
        csv.field_size_limit(DEPTH)
        try:
            header, *rows = (
                row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(map(str.strip, row))
            )
        except csv.Error as error:
            raise MissingData(f"{name} can't be read as CSV ({error}).") from None
        header = [title.strip() for title in header]
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise MissingData(f"{name}, row {number}: {len(row)} values below a header of {len(header)} columns.")
    return header, rows


def _rows_by_file(table: Table, files: Sequence[str], root: Any) -> dict[str, int]:
    """The row of each file that the table names; of equal rows the first."""
    folder = f"{root}/"
    named = [_path(file, folder) for file in table.files]
    for key in (str, _last, _stem, lambda file: _last(_stem(file))):
        keys = [key(file) for file in files]
        of_key = dict(zip(keys, files, strict=True))
        if len(of_key) < len(files):  # they do not tell the images apart
            continue
        found: dict[str, int] = {}
        for row, file in enumerate(named):
            image = of_key.get(key(file))
            if image is None:
                continue
            if (other := found.setdefault(image, row)) != row and table.values[other] != table.values[row]:
                raise MissingData(
                    f"{table.name} has two labels for {table.files[row]}, {_short(table.values[other])} and "
                    f"{_short(table.values[row])}: keep one."
                )
        if found:
            return found
    raise MissingData(
        f"{table.name} names no image of {root}: its first row is of {_short(table.files[0])}, the first image is "
        f"{files[0]}."
    )


def _path(file: str, folder: str) -> str:
    """A path in a table as one below the folder of the images, with forward slashes."""
    file = file.strip().replace("\\", "/").removeprefix(folder)
    while file.startswith("./"):
        file = file[2:]
    return file


def _last(file: str) -> str:
    return file.rpartition("/")[2]


def _stem(file: str) -> str:
    path = PurePosixPath(file)
    return str(path.with_suffix("")) if path.suffix and path.name not in ("", ".", "..") else file


def _attributes(values: Sequence[Any], names: Sequence[str], files: Sequence[str], where: str) -> Labels:
    length = len(values[0]) if isinstance(values[0], list | tuple) else 0
    for file, value in zip(files, values, strict=True):
        if not isinstance(value, list | tuple) or len(value) != length or not length:
            raise MissingData(f"{where} has {_short(value)} for {file}, and {_short(values[0])} for {files[0]}.")
    if names and len(names) != length:
        raise MissingData(f"{where} has {length} numbers an image, but names {len(names)}.")
    names = list(names) or [str(number) for number in range(length)]
    try:
        numbers = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        numbers = None
    if numbers is not None and numbers.ndim != 2:
        raise MissingData(f"{where} has {_short(values[0])} for {files[0]}: give a number, or several.")
    if numbers is None or not (np.abs(numbers) <= np.finfo(np.float32).max).all():  # false for NaN
        file, name, value = next(
            (file, name, value)
            for file, row in zip(files, values, strict=True)
            for name, value in zip(names, row, strict=True)
            if (number := _number(value)) is None or not abs(number) <= np.finfo(np.float32).max
        )
        raise MissingData(
            f"{where} has {_short(value)} as {name} of {file}: several columns are attributes, and those are numbers. "
            "data.label_column=NAME picks one column."
        )
    return Labels(files, numbers.astype(np.float32), attributes=names)


def _number(value: Any) -> float | None:
    """A value as a number; None where it is none."""
    if isinstance(value, str) and "_" in value:  # which Python reads as a separator
        return None
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return None


def _are_amounts(values: Iterable[str]) -> bool:
    """Whether all are numbers and some are no whole ones, so that they are no classes."""
    numbers = [_number(value) for value in values]
    return None not in numbers and any(number % 1 for number in numbers if number and math.isfinite(number))


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else f"{text[:60]}..."


def counts_in_words(names: Sequence[str], numbers: Iterable[int], shown: int = 10) -> str:
    """ "3 classes: cat (12), dog (40), ..."; and of equal numbers "10 classes of 400: 0, 1, ..."."""
    numbers = list(numbers)
    what = f"{len(names):,} class{'' if len(names) == 1 else 'es'}"
    more = ", ..." * (len(names) > shown)
    if len(set(numbers)) == 1 and len(names) > 1:
        return f"{what} of {numbers[0]:,}: {', '.join(names[:shown])}{more}"
    each = [f"{name} ({number:,})" for name, number in zip(names, numbers, strict=True)]
    return f"{what}: {', '.join(each[:shown])}{more}"


def named_table(path: Path) -> bytes:
    """The bytes of a table's file.

    Raises:
        MissingData: there is no such file, or it can't be read.
    """
    wanted = "give a CSV with a header such as file,class, or a dataset.json"
    try:
        with opened_regular(path) as file:
            return file.read()
    except FileNotFoundError:
        raise MissingData(f"data.labels={path} does not exist: {wanted}.") from None
    except OSError as error:
        raise MissingData(f"data.labels={path} can't be read, {why_not_opened(path, error)}: {wanted}.") from None
