"""data.normal=[...]: trained on the normal classes alone, tested on all; of any labelled set and of folders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.embedded import Digits, OneClassDigits
from zoo.data.files import MissingData
from zoo.data.folder import ImageFolder, LabelledImageFolder


def fill(root: Path, **classes: int) -> Path:
    """root/<class>/<n>.png, each class of another level."""
    for level, (name, number) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for n in range(number):
            Image.fromarray(np.full((8, 8, 3), 40 * level + n, np.uint8)).save(root / name / f"{n}.png")
    return root


def counts(data: Any, split: str) -> list[int]:
    return torch.bincount(data.split(split).labels, minlength=len(data.classes)).tolist()


@pytest.mark.parametrize("normal", [[3], ["3"], [3, 7, 3], 3, "3"])
def test_training_images_are_of_normal_classes_and_test_images_of_all(common: Any, normal: Any) -> None:
    data, whole = Digits(**{**common, "channels": 1}, normal=normal), Digits(**{**common, "channels": 1})
    kept = sorted({int(name) for name in (normal if isinstance(normal, list) else [normal])})
    assert (data.normal, whole.normal) == (kept, [])
    assert counts(data, "train") == [n if k in kept else 0 for k, n in enumerate(counts(whole, "train"))]
    assert counts(data, "test") == counts(whole, "test")
    taken = torch.isin(whole.split("train").labels, torch.tensor(kept))
    assert torch.equal(data.split("train").images, whole.split("train").images[taken])
    assert data.fingerprint("train") != whole.fingerprint("train")
    assert f"10 classes, of which normal and trained on: {', '.join(map(str, kept))}" in data.description


def test_null_is_an_ordinary_set_and_the_setting_may_be_missing(common: Any) -> None:
    """A checkpoint from before has none; the fingerprint of both stays."""
    one, other = Digits(**common), Digits(**common, normal=None)
    assert one.fingerprint("train") == other.fingerprint("train")
    assert one.description == other.description


def test_nothing_is_said_of_classes_that_are_left_out(common: Any, recwarn: pytest.WarningsRecorder) -> None:
    Digits(**common, normal=[1]).setup("fit")
    assert not recwarn.list


@pytest.mark.parametrize(
    ("normal", "sentence"),
    [
        ([11], r"data\.normal=\[11\]: 11 is no class of data=one_class_digits, which has 0, 1, 2"),
        ([-1], "-1 is no class"),
        (["three"], "three is no class"),
        ([], r"data\.normal=\[\] names no class"),
        (list(range(10)), "calls all 10 classes of data=one_class_digits normal, so that none is abnormal"),
    ],
)
def test_what_makes_no_sense_is_said_at_construction(common: Any, normal: list[Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        OneClassDigits(**common, normal=normal)


def test_a_labelled_folder_with_a_share_held_out(tmp_path: Path, of_folder: Any) -> None:
    root = fill(tmp_path / "a", good=30, broken=20)
    settings = {**of_folder, "root": str(root), "test_fraction": 0.4}
    data, whole = LabelledImageFolder(**settings, normal=["good"]), LabelledImageFolder(**settings)
    assert data.classes == ["broken", "good"]
    assert data.normal == [1]
    assert counts(data, "train") == [0, counts(whole, "train")[1]]
    assert counts(data, "test") == counts(whole, "test")


def test_normal_images_without_labels_and_a_labelled_test_folder(tmp_path: Path, of_folder: Any) -> None:
    """As MVTec's sets lie; in which folders the training images lie plays no part."""
    root = fill(tmp_path / "train", one=7, two=5)
    tests = fill(tmp_path / "test", bent=3, good=4, hole=2)
    settings = {**of_folder, "root": str(root), "test_root": str(tests)}
    data = ImageFolder(**settings, normal=["good"])
    data.setup("fit")
    assert (data.classes, data.normal) == (["bent", "good", "hole"], [1])
    assert (counts(data, "train"), counts(data, "test")) == ([0, 12, 0], [3, 4, 2])
    batch = next(iter(data.evaluation_loader(split="test", num=9, batch_size=9)))
    level = ((batch.image[:, 0, 0, 0] + 1) * 127.5).round()
    assert torch.equal((level / 40).floor().long(), batch.label)
    streamed = ImageFolder(**{**settings, "memory_limit_mb": 0}, normal=["good"])
    assert counts(streamed, "test") == [3, 4, 2]
    unlabelled = ImageFolder(**settings)
    assert (unlabelled.classes, unlabelled.normal, len(unlabelled.split("test"))) == ([], [], 9)


def test_a_labelled_folder_with_a_test_folder_of_more_classes(tmp_path: Path, of_folder: Any) -> None:
    root, tests = fill(tmp_path / "train", a=3, b=4), fill(tmp_path / "test", b=2, c=1, a=1)
    settings = {**of_folder, "root": str(root), "test_root": str(tests)}
    data = LabelledImageFolder(**settings, normal=["a", "b"])
    assert data.classes == ["a", "b", "c"]
    assert (counts(data, "train"), counts(data, "test")) == ([3, 4, 0], [1, 2, 1])
    with pytest.raises(
        ValueError, match=r"data\.normal=\[c\]: data=labelled_folder .* has no training image of class c"
    ):
        LabelledImageFolder(**settings, normal=["c"]).setup("fit")


def test_caches_of_two_normal_classes_are_apart(tmp_path: Path, of_folder: Any) -> None:
    root = fill(tmp_path / "a", good=6, broken=6)
    settings = {**of_folder, "root": str(root), "memory_limit_mb": 0, "cache": True}
    for _ in range(2):
        for name, level in (("good", 0), ("broken", 40)):
            data = LabelledImageFolder(**settings, normal=[name])
            data.setup("fit")
            images = data.split("train")[list(range(6))].image
            assert sorted(images[:, 0, 0, 0].tolist()) == list(range(level, level + 6))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root, s: ImageFolder(root=root, **s, normal=["good"]), r"has none: use data=labelled_folder, a table"),
        (lambda root, s: LabelledImageFolder(root=root, **s, normal=["empty"]), r"a/empty holds no image: add some"),
        (
            lambda root, s: LabelledImageFolder(root=root, **s, normal=["god"]),
            r"which has broken, good: did you mean good\?",
        ),
    ],
)
def test_folders_that_lack_what_is_called_normal(tmp_path: Path, of_folder: Any, make: Any, sentence: str) -> None:
    root = fill(tmp_path / "a", good=2, broken=2, empty=0)
    with pytest.raises(MissingData, match=sentence):
        make(str(root), of_folder).setup("fit")


@pytest.mark.parametrize(
    ("normal", "sentence"),
    [
        ("empty", r"tests/empty holds no image: add some"),
        ("god", r"god is no class of data=folder \(.*tests\), which has broken, good: did you mean good\?"),
    ],
)
def test_the_folder_whose_subfolders_are_the_classes_is_named(
    tmp_path: Path, of_folder: Any, normal: str, sentence: str
) -> None:
    """That of the test images, where the training images have no classes."""
    root, tests = fill(tmp_path / "train", good=3), fill(tmp_path / "tests", good=2, broken=2, empty=0)
    data = ImageFolder(root=str(root / "good"), **{**of_folder, "test_root": str(tests)}, normal=[normal])
    with pytest.raises(MissingData, match=sentence):
        data.setup("fit")


def test_attributes_are_no_classes(tmp_path: Path, of_folder: Any) -> None:
    root = fill(tmp_path / "a", x=2)
    (root / "labels.csv").write_text("file,smiling,age\nx/0.png,1,0.5\nx/1.png,0,0.2\n")
    with pytest.raises(ValueError, match=r"are attributes \(smiling, age\)"):
        ImageFolder(root=str(root), **{**of_folder, "labels": "labels.csv"}, normal=["x"]).setup("fit")


def test_a_class_by_name_alone_is_a_list_of_one(tmp_path: Path, of_folder: Any) -> None:
    """Not its letters."""
    settings = {"root": str(fill(tmp_path / "a", good=4)), **of_folder}
    with pytest.raises(MissingData, match=r"data\.normal=\[good\] names classes, and"):
        ImageFolder(**settings, normal="good").setup("fit")


def test_a_class_that_is_the_only_one(tmp_path: Path, of_folder: Any) -> None:
    settings = {"root": str(fill(tmp_path / "a", good=4)), **of_folder}
    with pytest.raises(ValueError, match=r"calls good, the only class of .* normal, .*: add images of another"):
        LabelledImageFolder(**settings, normal=["good"]).setup("fit")
