"""Tables of labels: what is read, what is refused and in which words, what comes of it in a set."""

import json
import time

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.files import MissingData
from zoo.data.folder import ImageFolder, LabelledImageFolder
from zoo.data.labels import counts_in_words, of_table, read_table

FILES = ["a/1.png", "a/2.png", "b/3.png"]


def read(content, name="labels.csv", columns=(), files=FILES, skip=False):
    content = content if isinstance(content, bytes) else content.encode()
    return of_table(read_table(content, name, columns), files, "/set", skip=skip)


CLASSES = {  # content, and what the three images are
    "semicolons": ("file;class\na/1.png;cat\na/2.png;dog\nb/3.png;cat\n", ["cat", "dog", "cat"]),
    "a mark, quotes, Windows' paths": (
        '\ufefffile,class\r\n"a\\1.png",cat\r\n.\\a\\2.png,"dog, big"\r\n/set/b/3.png,cat\r\n',
        ["cat", "dog, big", "cat"],
    ),
    "tabs, UTF-16": ("file\tclass\na/1.png\tä\na/2.png\tb\nb/3.png\tc\n".encode("utf-16"), ["ä", "b", "c"]),
    "names without folders": ("id,breed\n1.png,7\n3.png,11\n2.png,7\n", ["7", "7", "11"]),
    "names without extension": ("id,breed\n1,7\n3,-1\n2,7\n", ["7", "7", "-1"]),
    "a manifest of zoo sample": (
        "path,label,class,seed\na/1.png,0,nil,0\na/2.png,1,one,1\nb/3.png,1,one,2\n",
        ["nil", "one", "one"],
    ),
    "the column of the images not first": (
        "class,image\ncat,a/1.png\ndog,a/2.png\ncat,b/3.png\n",
        ["cat", "dog", "cat"],
    ),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_table_of_classes(name):
    content, wanted = CLASSES[name]
    labels = read(content)
    assert [labels.classes[label] for label in labels.values] == wanted
    assert labels.values.dtype == np.int64
    assert not labels.attributes


def test_numbers_are_sorted_as_numbers():
    assert read("file,class\na/1.png,10\na/2.png,9\nb/3.png,-1\n").classes == ["-1", "9", "10"]


ATTRIBUTES = {
    "CelebA's .csv": ("image_id,Smiling,Male\n1.png,1,-1\n2.png,-1,-1\n3.png,1,1\n", "labels.csv"),
    "CelebA's .txt": ("3\nSmiling Male\na/1.png  1 -1\na/2.png -1 -1\nb/3.png  1  1\n", "list_attr_celeba.txt"),
    "dataset.json": (
        json.dumps(
            {"labels": dict(zip(FILES, [[1, -1], [-1, -1], [1, 1]], strict=True)), "label_names": ["Smiling", "Male"]}
        ),
        "dataset.json",
    ),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_table_of_attributes(name):
    labels = read(*ATTRIBUTES[name])
    assert labels.values.dtype == np.float32
    assert labels.values.tolist() == [[1, -1], [-1, -1], [1, 1]]
    assert (labels.attributes, labels.classes) == (["Smiling", "Male"], [])


def test_columns_are_picked():
    table = "file,Smiling,Male,age\na/1.png,1,-1,0.5\na/2.png,-1,-1,x\nb/3.png,1,1,2\n"
    assert read(table, columns=["Male"]).classes == ["-1", "1"]
    assert read(table, columns=["Male", "Smiling"]).values.tolist() == [[-1, 1], [-1, -1], [1, 1]]
    share = read("file,age\na/1.png,1\na/2.png,0.5\nb/3.png,2\n")
    assert (share.attributes, share.values.tolist()) == (["age"], [[1], [0.5], [2]])


def of_json(labels, **more):
    return json.dumps({"labels": labels, **more})


def test_dataset_json():
    pairs = [[file, label] for file, label in zip(FILES, [6, 2, 6], strict=True)]
    labels = read(of_json(pairs), "dataset.json")
    assert (labels.classes, labels.values.tolist()) == (["2", "6"], [1, 0, 1])
    named = read(of_json(dict(pairs), classes=list("abcdefg")), "dataset.json")
    assert (named.classes, named.values.tolist()) == (["c", "g"], [1, 0, 1])
    assert read_table(of_json(None).encode(), "dataset.json", []) is None


WRONG = [
    ("", "is empty"),
    (" \n\n", "is empty"),
    ("file\na/1.png\n", "one column only"),
    ("file,class\n", "no rows below it"),
    ("a/1.png,cat\na/2.png,dog\n", "begins with a row, .*put one above it"),
    ("file,a,b\na/1.png,1,x\na/2.png,1,2\nb/3.png,1,1\n", r"has x as b of a/1\.png: .*label_column=NAME"),
    ("file,a,b\na/1.png,1,2\na/2.png,1,nan\nb/3.png,1,1\n", r"has nan as b of a/2\.png"),
    ("file,a,b\na/1.png,1,2\na/2.png,1,1e39\nb/3.png,1,1\n", r"has 1e39 as b of a/2\.png"),
    ("file,class\na/1.png,1\na/2.png,nan\nb/3.png,1\n", r"has nan as the label of a/2\.png"),
    ("file,class\na/1.png,cat\na/2.png, \nb/3.png,dog\n", r"no class for a/2\.png"),
    ("file,class\na/1.png,1\na/1.png,2\na/2.png,1\nb/3.png,1\n", r"two labels for a/1\.png, 1 and 2"),
    ("file,class\na/1.png,1\n", r"2 of 3 images of /set have no label in .* \(first a/2\.png\): .*data\.on_error=skip"),
    ("file,class\nq.png,1\n", r"names no image of /set: its first row is of q\.png, the first image is a/1\.png"),
    ("file,class\na/1.png\n", "row 2: 1 values below a header of 2 columns"),
    ("file,a,a\na/1.png,1,1\n", "several columns called a"),
    ("file,class\na/1.png,cat\na/2.png,caf\xe9\n".encode("latin1"), r"not UTF-8 text \(line 3\): save it as UTF-8"),
    (b"file,class\n\0\0\0,1\n", "is no text"),
    (b"\x89PNG\r\n\x1a\n\0\0", "not UTF-8 text"),
    ('file,class\n"a/1.png,cat\n', "one column|1 values"),
]


@pytest.mark.parametrize(("content", "said"), WRONG)
def test_a_table_that_makes_no_sense_is_one_sentence(content, said):
    with pytest.raises(MissingData, match=said) as caught:
        read(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "has no labels"),
        ("[]", "has no labels"),
        ("nope", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        (of_json([]), "has no labels"),
        (of_json([["a/1.png"]]), "among its labels"),
        (of_json([["a/1.png", None]]), r"has None as the label of a/1\.png"),
        (of_json({"a/1.png": True}), "has True"),
        (of_json({file: [[1]] for file in FILES}), r"has \[\[1\]\]"),
        (of_json({"a/1.png": [1], "a/2.png": [1, 2], "b/3.png": 0}), r"has \[1, 2\] for a/2\.png"),
        (of_json(dict.fromkeys(FILES, 9), classes=["c", "d"]), "names 2 classes, but has labels from 9 to 9"),
        ('{"labels": {"a/1.png": 1e999, "a/2.png": 1, "b/3.png": 0}}', "has inf"),
    ],
)
def test_a_dataset_json_that_makes_no_sense_is_one_sentence(content, said):
    with pytest.raises(MissingData, match=said) as caught:
        read(content, "dataset.json")
    assert len(str(caught.value)) < 300


def test_images_without_a_label_may_be_left_out_and_rows_without_an_image_are_said():
    labels = read("file,class\na/2.png,cat\nb/3.png,dog\ngone.png,cat\n", skip=True)
    assert (labels.files, labels.values.tolist()) == (["a/2.png", "b/3.png"], [0, 1])
    left_out, unused = labels.remarks
    assert "1 of 3 images" in left_out
    assert "a/1.png" in left_out
    assert "gone.png" in unused


@pytest.mark.slow
def test_a_million_rows_take_seconds():
    files = [f"{n:07}.jpg" for n in range(1_000_000)]
    content = "file,class\n" + "".join(f"{file},{n % 7}\n" for n, file in enumerate(files))
    start = time.process_time()
    labels = read(content, files=files)
    assert time.process_time() - start < 30  # 4 s of a quiet machine
    assert labels.values[:8].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]


def test_classes_in_words():
    assert counts_in_words(["cat", "dog"], [12, 1]) == "2 classes: cat (12), dog (1)"
    assert counts_in_words(["cat"], [12]) == "1 class: cat (12)"
    assert counts_in_words([str(n) for n in range(12)], [5] * 12).endswith(
        "12 classes of 5: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..."
    )


# In a set.


@pytest.fixture
def shards(tmp_path):
    """A folder in the layout of StyleGAN2-ADA: levels of grey 0, 10, ..., labels of three classes."""
    root = tmp_path / "set"
    (root / "00000").mkdir(parents=True)
    names = [f"00000/img{n:08}.png" for n in range(8)]
    for n, name in enumerate(names):
        Image.new("L", (8, 8), 10 * n).save(root / name)
    (root / "dataset.json").write_text(of_json([[name, n % 3] for n, name in enumerate(names)]))
    return root


def levels(data, split="train"):
    """The level and the label of each image of a set."""
    batch = data.split(split)[list(range(len(data.split(split))))]
    return dict(zip((batch.image[:, 0, 0, 0] // 10).tolist(), batch.label.tolist(), strict=True))


@pytest.mark.parametrize("how", [{}, {"memory_limit_mb": 0}, {"cache": True}])
def test_the_labels_of_dataset_json_are_the_classes(shards, of_folder, how):
    data = LabelledImageFolder(root=str(shards), **{**of_folder, **how})
    data.setup("fit")
    assert data.classes == ["0", "1", "2"]
    assert levels(data) == {n: n % 3 for n in range(8)}
    assert data.description.endswith("3 classes: 0 (3), 1 (3), 2 (2)")  # and nothing passed over
    before = data.fingerprint("train")
    content = json.loads((shards / "dataset.json").read_text())
    content["labels"][0][1] = 2
    (shards / "dataset.json").write_text(json.dumps(content))
    other = LabelledImageFolder(root=str(shards), **{**of_folder, **how})
    assert levels(other)[0] == 2
    assert other.fingerprint("train") != before


def test_a_folder_without_labels_stays_without(shards, of_folder):
    data = ImageFolder(root=str(shards), **of_folder)
    assert (data.classes, data.attributes) == ([], [])
    assert set(levels(data).values()) == {0}
    (shards / "dataset.json").write_text(of_json(None))
    with pytest.raises(MissingData, match=r"labels: null, no labels: use data=folder"):
        _ = LabelledImageFolder(root=str(shards), **of_folder).classes


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("module", [ImageFolder, LabelledImageFolder])
def test_attributes_reach_the_batches_of_both_splits(shards, of_folder, tmp_path, module, inside):
    table = (shards if inside else tmp_path) / "attributes.csv"
    rows = [f"img{n:08}.png,{n % 2},{n / 4}\n" for n in range(8)]
    table.write_text("file,odd,level\n" + "".join(rows))
    how = {"labels": "attributes.csv" if inside else str(table), "test_fraction": 0.4}
    data = module(root=str(shards), **{**of_folder, "batch_size": 2, **how})
    data.setup("fit")
    assert (data.classes, data.attributes) == ([], ["odd", "level"])
    assert "2 attributes: odd, level" in data.description
    assert "csv" not in data.description  # it is not passed over
    assert levels(data) | levels(data, "test") == {n: [n % 2, n / 4] for n in range(8)}
    batch = next(iter(data.train_dataloader()))
    assert (batch.label.shape, batch.label.dtype) == ((2, 2), torch.float32)
    picked = module(root=str(shards), **{**of_folder, **how, "label_column": "odd"})
    assert (picked.classes, picked.attributes) == (["0", "1"], [])
    assert picked.fingerprint("train") != data.fingerprint("train")


def test_what_is_odd_is_said(shards, of_folder):
    (shards / "labels.csv").write_text("file,class\n" + "".join(f"img{n:08}.png,{'ab'[n > 6]}\n" for n in range(7)))
    data = LabelledImageFolder(root=str(shards), **{**of_folder, "labels": "labels.csv", "on_error": "skip"})
    with pytest.warns(UserWarning, match=r"1 of 8 images of .* \(first 00000/img00000007\.png\) and are left out"):
        data.setup("fit")
    assert len(data.split("train")) == 7
    (shards / "labels.csv").write_text("file,class\n" + "".join(f"img{n:08}.png,{'ab'[n > 6]}\n" for n in range(8)))
    data = LabelledImageFolder(root=str(shards), **{**of_folder, "labels": "labels.csv"})
    with pytest.warns(UserWarning, match="less than two training images: b"):
        data.setup("fit")


def test_a_table_that_is_not_there_is_named(shards, of_folder, tmp_path):
    for name, said in (("nowhere.csv", "does not exist"), (str(tmp_path), "can't be read, a folder")):
        data = ImageFolder(root=str(shards), **{**of_folder, "labels": name})
        with pytest.raises(MissingData, match=rf"data\.labels={name} {said}"):
            data.setup("fit")
    with pytest.raises(ValueError, match=r"data\.label_column=odd .*data\.labels=FILE"):
        ImageFolder(root=str(shards), **{**of_folder, "label_column": "odd"})
    (shards / "labels.csv").write_text("file,class\nx.png,1\n")
    with pytest.raises(MissingData, match=r"label_column=even is no column of .*: it has class"):
        _ = ImageFolder(root=str(shards), **{**of_folder, "labels": "labels.csv", "label_column": "even"}).classes
