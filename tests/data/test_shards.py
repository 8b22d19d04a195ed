"""Shards in WebDataset's format as a set of images: the same as WebDataset reads, in any order and from any process."""

import gc
import io
import json
import os
import pickle
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from common import digits_in_shards, needs, png, same, shard
from omegaconf import DictConfig
from PIL import Image

from train import run
from zoo.data import shards
from zoo.data.archives import Shards, Tar, images_in, opened_archive
from zoo.data.check import check_folder
from zoo.data.corrupted_folder import CorruptedFolder
from zoo.data.files import MissingData, in_test
from zoo.data.folder import ImageFolder, LabelledImageFolder
from zoo.data.originals import Originals
from zoo.data.pair_folders import UnpairedFolder
from zoo.data.reading import UnreadableImage, opened
from zoo.data.super_resolution import SuperResolutionFolder
from zoo.run.checkpoint import read

PIXELS = np.array([[n * 10 + side for side in range(64)] for n in range(12)], np.uint8).reshape(12, 8, 8)


NAMES = [f"train-{(n > 4) + (n > 8)}.tar/{n:06}.png" for n in range(12)]  # of `three`


def sample(n: int, **beside: bytes) -> dict[str, bytes]:
    """An image and what lies beside it."""
    return {**{f"{n:06}.{suffix}": content for suffix, content in beside.items()}, f"{n:06}.png": png(PIXELS[n])}


def cls(n: int) -> dict[str, bytes]:
    return sample(n, cls=b"%d" % (n % 3))


def joined(samples: Any) -> dict[str, bytes]:
    return {name: content for one in samples for name, content in one.items()}


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """The folder of three shards of 5, 4 and 3 labelled images, made in another order than that of their names."""
    for name, rows in (("2", range(9, 12)), ("0", range(5)), ("1", range(5, 9))):
        shard(tmp_path / "set" / f"train-{name}.tar", joined(map(cls, rows)))
    return tmp_path / "set"


def grey(data: Any, split: str = "train") -> torch.Tensor:
    """The images of a split, [N, H, W], in its order."""
    return data.split(split)[list(range(len(data.split(split))))].image[:, 0]


# What WebDataset reads.


def test_webdataset_reads_the_same_samples_in_the_same_order(tmp_path: Path, of_folder: dict[str, Any]) -> None:
    """Shards that its ShardWriter wrote, of several formats of images, grey and in colours, labelled in two ways."""
    wds = needs("webdataset")
    dice = np.random.default_rng(0)
    extensions = ("png", "jpg", "webp", "PNG", "ppm")
    with wds.ShardWriter(f"{tmp_path}/train-%04d.tar", maxcount=7, verbose=0) as writer:
        for n in range(40):
            pixels = dice.integers(0, 256, (8, 8, 3) if n % 2 else (8, 8), dtype=np.uint8)
            content, extension = io.BytesIO(), extensions[n % 5]
            Image.fromarray(pixels).save(content, {"jpg": "JPEG"}.get(extension, extension), quality=90)
            label: dict[str, Any] = {"cls": n % 4} if n % 3 else {"json": {"label": n % 4, "caption": "x"}}
            writer.write({"__key__": f"part{n % 2}/{n:05}", extension: content.getvalue(), "txt": "words", **label})
    data = LabelledImageFolder(**{**of_folder, "root": str(tmp_path)})
    data.setup("fit")
    train: Any = data.split("train")
    theirs = list(wds.WebDataset([*map(str, sorted(tmp_path.glob("*.tar")))], shardshuffle=False).decode("pil"))
    assert len(theirs) == len(train) == 40
    batch = train[list(range(40))]
    for n, one in enumerate(theirs):
        image = next(value for value in one.values() if isinstance(value, Image.Image))  # in RGB
        assert np.array_equal(np.asarray(image).transpose(2, 0, 1), batch.image[n].numpy())
        label = one["cls"] if "cls" in one else one["json"]["label"]
        assert data.classes[int(batch.label[n])] == str(label)
    names = opened_archive(tmp_path).names
    assert [name.split("/", 1)[1].rpartition(".")[0] for name in names] == [one["__key__"] for one in theirs]
    assert data.description.endswith("6 shards; passed over: 40 .txt")


def test_what_a_shell_makes_of_braces() -> None:
    """And the library that WebDataset asks."""
    braceexpand = needs("braceexpand").braceexpand
    bash = shutil.which("bash")
    for pattern in (
        "a-{0..3}",
        "{00..12}",
        "{8..11}.{a,bc}",
        "{03..1}",
        "x{a,b}{0..1}",
        "{a}",
        "{,x}y",
        "a",
        "{a}{0,1}",
    ):
        ours = sorted(shards._in_braces(pattern, Path(pattern)))
        assert ours == sorted(braceexpand(pattern)), pattern
        if bash:
            words = subprocess.run([bash, "-c", f"echo {pattern}"], capture_output=True, text=True, check=True).stdout
            assert ours == sorted(words.split()), pattern
    with pytest.raises(MissingData, match=r"means 1,000,000,000,000 shards: give 100,000 or less"):
        shards._in_braces("{0..999999}-{0..999999}", Path("x"))


@pytest.mark.parametrize("pattern", ["", "train-*.tar", "train-{0..2}.tar", "train-{0,[12]}.tar", "../se?/train-?.tar"])
def test_any_way_to_name_them_gives_the_same_set(three: Path, of_folder: dict[str, Any], pattern: str) -> None:
    data = LabelledImageFolder(**{**of_folder, "root": str(three / pattern)})
    data.prepare_data()
    data.setup("fit")
    assert torch.equal(grey(data), torch.from_numpy(PIXELS))
    assert data.split("train").labels.tolist() == [n % 3 for n in range(12)]
    assert data.description.endswith("12 training images, 8x8, 3 channels, 3 classes of 4: 0, 1, 2; 3 shards")


def test_shards_in_several_folders(three: Path) -> None:
    """Names tell them apart, and a shard may be called like a folder beside it."""
    for n, place in enumerate(("a/x.tar", "b/x.tar", "b/x.tar.tar")):
        shard(three.parent / "more" / place, {"tar/0.png": png(PIXELS[n]), "0.png": png(PIXELS[n + 3])})
    archive = opened_archive(three.parent / "more" / "*" / "*.tar")
    assert list(archive.names) == [
        *("a/x.tar/tar/0.png", "a/x.tar/0.png", "b/x.tar/tar/0.png", "b/x.tar/0.png"),
        *("b/x.tar.tar/tar/0.png", "b/x.tar.tar/0.png"),
    ]
    for name, n in zip(archive.names, (0, 3, 1, 4, 2, 5), strict=True):
        with opened(archive / name, max_pixels=100) as image:
            assert np.array_equal(np.asarray(image), PIXELS[n]), name
    with pytest.raises(MissingData, match=r"shards lie in folders below it: .*, or all, .*/more/\*/\*\.tar\."):
        images_in(three.parent / "more", "")


# Reading.


def test_streamed_cached_and_kept_in_memory_are_alike(three: Path, of_folder: dict[str, Any]) -> None:
    kept = LabelledImageFolder(**{**of_folder, "root": str(three)})
    kept.setup("fit")
    ways = ({"memory_limit_mb": 0, "num_workers": 2}, {"cache": True}, {"cache": True})
    for way in ways:
        data = LabelledImageFolder(**{**of_folder, "root": str(three), **way})
        data.prepare_data()
        data.setup("fit")
        batches = islice(zip(kept.train_dataloader(), data.train_dataloader(), strict=True), 7)  # of three a epoch
        assert all(torch.equal(a, b) for one, other in batches for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_processes_that_are_forked_or_started_read_them(
    three: Path, of_folder: dict[str, Any], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ImageFolder(**{**of_folder, "root": str(three), "memory_limit_mb": 0, "num_workers": 2})
    data.setup("fit")
    data.split("train")[[3]]  # read here before
    loader = data.train_dataloader()
    loader.multiprocessing_context = method
    for batch in islice(loader, 7):
        assert torch.equal(batch.image[:, 0], torch.from_numpy(PIXELS)[batch.index])
    monkeypatch.setattr(shards, "entries", None)  # what is sent to a process is the index
    again = pickle.loads(pickle.dumps(data.split("train").content.root))
    assert list(again.names) == NAMES


def test_ranks_share_the_batch_of_one_process(three: Path, of_folder: dict[str, Any]) -> None:
    class Rank:
        def __init__(self, rank: int, size: int) -> None:
            self.global_rank, self.world_size, self.num_devices, self.training = rank, size, size, True

    def batches(rank: int, size: int) -> list[torch.Tensor]:
        data = ImageFolder(**{**of_folder, "root": str(three), "memory_limit_mb": 0})
        data.trainer = Rank(rank, size)  # type: ignore[assignment]
        return [batch.index for batch in islice(data.train_dataloader(), 6)]

    for one, first, second in zip(batches(0, 1), batches(0, 2), batches(1, 2), strict=True):
        assert torch.equal(torch.stack([first, second], 1).flatten(), one)


@pytest.mark.slow
def test_an_index_takes_less_than_its_names(tmp_path: Path) -> None:
    """32 bytes an image and its name's length, and nothing for each image but that: Python's objects would be 200."""
    info = tarfile.TarInfo()
    for part in range(4):
        with (tmp_path / f"{part}.tar").open("wb") as file:
            for n in range(1_000):
                for info.name in (f"{part * 1000 + n:09}.cls", f"{part * 1000 + n:09}.png"):
                    info.size = 1
                    file.write(info.tobuf(tarfile.USTAR_FORMAT) + b"%d" % (n % 10) + bytes(511))
            file.write(bytes(1024))
    opened_archive(tmp_path)  # what is made once, is made
    tracemalloc.start()
    archive = opened_archive(tmp_path)
    gc.collect()  # what is kept is asked for
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(archive.names) == 4_000
    assert taken < 4_000 * (32 + 13) + 40_000
    names: Any = archive.names
    some = names.taken(range(0, 4_000, 3)).taken([5, 1])
    assert (list(some), some[-1], names[-1], names[2:4]) == (
        [names[15], names[3]],
        names[3],
        "3.tar/000003999.png",
        ["0.tar/000000002.png", "0.tar/000000003.png"],
    )
    with pytest.raises(IndexError):
        names[4_000]


def test_images_are_found_by_name_wherever_they_lie(tmp_path: Path) -> None:
    """Members that are not in the order of their names stay in their own, and labels find theirs."""
    order = [7, 2, 11, 0, 9, 4]
    members = [*joined(sample(n) for n in order).items(), *[(f"{n:06}.cls", b"%d" % (n * 2)) for n in sorted(order)]]
    shard(tmp_path / "set" / "a.tar", members)
    archive = opened_archive(tmp_path / "set")
    assert isinstance(archive, Shards)
    assert list(archive.names) == [f"a.tar/{n:06}.png" for n in order]
    for n in order:
        with opened(archive / f"a.tar/{n:06}.png", max_pixels=100) as image:
            assert np.array_equal(np.asarray(image), PIXELS[n])
    labels = archive.labels(skip=False)
    assert labels is not None
    assert [labels.classes[label] for label in labels.values] == [str(n * 2) for n in order]
    for lost in ("a.tar/000001.png", "a.tar/", "a.tar", "b.tar/000007.png", ""):
        with pytest.raises(KeyError):
            archive.index.row(lost)


# The index.


def test_headers_are_read_once(three: Path, of_folder: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    scanned: list[str] = []
    scan = shards._scanned
    monkeypatch.setattr(shards, "_scanned", lambda base, name: (scanned.append(name), scan(base, name))[1])

    def prints() -> str:
        data = LabelledImageFolder(**{**of_folder, "root": str(three), "memory_limit_mb": 0})
        data.setup("fit")
        assert data.classes == ["0", "1", "2"]
        assert data.source.labels.values.tolist() == [n % 3 for n in range(12)]
        return data.fingerprint("train")

    before = prints()
    assert sorted(scanned) == ["train-0.tar", "train-1.tar", "train-2.tar"]
    assert prints() == before
    assert len(scanned) == 3
    (file,) = Path(of_folder["cache_dir"], "shards").iterdir()
    for content in (b"", file.read_bytes()[:300], b"x" * 300):  # damaged: it is made again
        file.write_bytes(content)
        assert prints() == before
    assert len(scanned) == 12
    os.utime(three / "train-1.tar", ns=(1, 1))
    assert prints() != before
    assert len(scanned) == 15


def test_the_fingerprint_follows_the_shards(three: Path, of_folder: dict[str, Any]) -> None:
    def prints(kind: Any = ImageFolder, folder: Path = three, **settings: Any) -> str:
        data = kind(**{**of_folder, "root": str(folder), "memory_limit_mb": 0, **settings})
        return data.fingerprint("train")

    before = prints()
    assert before == prints() == prints(folder=three / "train-*.tar")
    assert prints(LabelledImageFolder) != before
    assert prints(test_fraction=0.5) != before
    moved = shutil.copytree(three, three.parent / "moved")  # with the times of modification
    assert prints(folder=moved) == before
    last = moved / "train-2.tar"
    content, status = bytearray(last.read_bytes()), last.stat()
    content[content.index(b"IDAT") + 8] ^= 1
    last.write_bytes(content)
    assert last.stat().st_size == status.st_size
    assert prints(folder=moved) != before  # by its time
    last.rename(moved / "train-3.tar")
    os.utime(moved / "train-3.tar", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert prints(folder=moved) != before  # by its name
    (moved / "train-3.tar").unlink()
    assert prints(folder=moved) != before


def test_a_shard_that_changes_in_a_run_is_said(three: Path) -> None:
    archive = opened_archive(three)
    shard(three / "train-0.tar", cls(7))
    with (
        pytest.raises(UnreadableImage, match=r"train-0\.tar has [\d,]+ bytes now, and had [\d,]+ when this run began"),
        opened(archive / archive.names[0], max_pixels=100),
    ):
        pass


def test_so_is_one_that_is_replaced_by_another_of_its_length(three: Path) -> None:
    archive = opened_archive(three)
    place = three / "train-0.tar"
    status = place.stat()
    place.write_bytes(place.read_bytes())
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with (
        pytest.raises(UnreadableImage, match=r"train-0\.tar has been written anew since this run began"),
        opened(archive / archive.names[0], max_pixels=100),
    ):
        pass


# Splits and labels.


def test_images_are_held_out_by_their_names(three: Path, of_folder: dict[str, Any]) -> None:
    data = LabelledImageFolder(**{**of_folder, "root": str(three), "test_fraction": 0.4})
    data.setup("fit")
    held_out = [in_test(name, 0.4) for name in NAMES]
    assert 0 < sum(held_out) < 12
    for split, side in (("train", False), ("test", True)):
        rows = [n for n in range(12) if held_out[n] == side]
        assert torch.equal(grey(data, split), torch.from_numpy(PIXELS)[rows])
        assert data.split(split).labels.tolist() == [n % 3 for n in rows]  # type: ignore[arg-type]


def test_test_images_of_their_own(three: Path, of_folder: dict[str, Any]) -> None:
    tests = shard(three.parent / "tests" / "x-0.tar", joined(map(cls, (4, 1, 2)))).parent / "x-*.tar"
    data = LabelledImageFolder(**{**of_folder, "root": str(three), "test_root": str(tests)})
    data.prepare_data()
    data.setup("fit")
    assert torch.equal(grey(data, "test"), torch.from_numpy(PIXELS)[[4, 1, 2]])
    assert data.split("test").labels.tolist() == [1, 1, 2]
    assert data.description.endswith("4 shards")
    with pytest.raises(MissingData, match=r"train-1\.tar is one of the shards of data\.root=.* and of data\.test_root"):
        ImageFolder(**{**of_folder, "root": str(three), "test_root": str(three / "train-1*.tar")}).setup("fit")


LABELS = {  # what lies beside image n, and the classes
    "numbers": (lambda n: {"cls": b" %d\n" % (n % 2 * 7 - 1)}, ["-1", "6"]),
    "json, a number": (lambda n: {"json": b"%d" % (n % 2)}, ["0", "1"]),
    "json, a name": (lambda n: {"json": json.dumps(["cat", "dög"][n % 2]).encode()}, ["cat", "dög"]),
    "json, a whole float": (lambda n: {"json": b'{"category": %d.0}' % (n % 2)}, ["0", "1"]),
    "json of more": (lambda n: {"json": json.dumps({"id": n, "cls": n % 2, "y": 5}).encode()}, ["0", "1"]),
    "both, of which .cls": (lambda n: {"cls": b"%d" % (n % 2), "json": b'{"label": 9}'}, ["0", "1"]),
    "a damaged .cls beside a .json": (lambda n: {"cls": b"", "json": b'{"label": %d}' % (n % 2)}, ["0", "1"]),
    "now this, now that": (lambda n: {"cls": b"1"} if n % 2 else {"json": b'"0"'}, ["0", "1"]),
    "in capitals": (lambda n: {"CLS": b"%d" % (n % 2)}, ["0", "1"]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels(tmp_path: Path, of_folder: dict[str, Any], name: str) -> None:
    beside, classes = LABELS[name]
    shard(tmp_path / "set" / "a.tar", joined(sample(n, **beside(n)) for n in range(12)))
    data = LabelledImageFolder(**{**of_folder, "root": str(tmp_path / "set")})
    data.setup("fit")
    assert data.classes == classes
    assert data.split("train").labels.tolist() == [n % 2 for n in range(12)]


@pytest.mark.parametrize("top", ["", "./", "pets/"])
def test_folders_are_classes_where_nothing_else_says_them(tmp_path: Path, of_folder: dict[str, Any], top: str) -> None:
    members = {f"{top}{('dog', 'cat')[n % 2]}/{n}.png": png(PIXELS[n]) for n in range(12)}
    for name, rows in (("a", slice(5)), ("b", slice(5, 12))):
        shard(tmp_path / "set" / f"{name}.tar", dict(list(members.items())[rows]))
    data = LabelledImageFolder(**{**of_folder, "root": str(tmp_path / "set")})
    data.setup("fit")
    assert data.classes == ["cat", "dog"]
    assert data.split("train").labels.tolist() == [1 - n % 2 for n in range(12)]
    assert check_folder(tmp_path / "set").classes == {"cat": 6, "dog": 6}


def test_a_table_has_the_last_word(three: Path, of_folder: dict[str, Any]) -> None:
    rows = "".join(f"{n:06}.png,{'even' if n % 2 == 0 else 'odd'}\n" for n in range(12))
    (three.parent / "t.csv").write_text(f"file,class\n{rows}")
    data = LabelledImageFolder(**{**of_folder, "root": str(three), "labels": str(three.parent / "t.csv")})
    assert data.classes == ["even", "odd"]
    assert data.split("train").labels.tolist() == [n % 2 for n in range(12)]


@pytest.mark.parametrize(
    ("beside", "why"),
    [
        ({}, "neither .cls nor .json beside it"),
        ({"cls": b"cat"}, "000008.cls holds 'cat', which is no whole number"),
        ({"cls": b"9" * 40}, "which is no whole number"),
        ({"cls": b"\xff\x00"}, "which is no whole number"),
        ({"cls": b"1" * 2**20}, "takes 1,048,576 bytes or more, too much for a label"),
        ({"json": b"{"}, "000008.json is no JSON"),
        ({"json": b'{"label": "\\ud800x"}'}, "000008.json has a label that can't be printed"),
        ({"json": b'{"label": "\\u001b[31mred"}'}, "has a label that can't be printed"),
        ({"json": b"[" * 100_000}, "is no JSON"),
        ({"json": b'{"caption": "a cat"}'}, "has no label, a whole number or a name under cls, class, label"),
        ({"json": b'{"label": 0.5}'}, "has no label"),
        ({"json": b'{"label": true}'}, "has no label"),
        ({"json": b'{"label": NaN}'}, "has no label"),
        ({"json": b'{"label": 1%s}' % (b"0" * 4000)}, "has no label"),
        ({"json": b'{"label": " "}'}, "has no label"),
    ],
)
def test_an_image_without_a_label(
    tmp_path: Path, of_folder: dict[str, Any], beside: dict[str, bytes], why: str
) -> None:
    """It stops what wants labels, unless such are left out, and nothing else."""
    members = joined(sample(n, **beside) if n in (8, 10) else cls(n) for n in range(12))
    shard(tmp_path / "set" / "a.tar", members)
    settings = {**of_folder, "root": str(tmp_path / "set")}
    with pytest.raises(MissingData, match=r"2 of 12 images of .*set have no label \(first a\.tar/000008\.png: .*"):
        LabelledImageFolder(**settings).setup("fit")
    with pytest.raises(MissingData) as caught:
        LabelledImageFolder(**settings).setup("fit")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    data = LabelledImageFolder(**{**settings, "on_error": "skip"})
    with pytest.warns(UserWarning, match=r"2 of 12 images .* are left out"):
        data.setup("fit")
    assert torch.equal(grey(data), torch.from_numpy(np.delete(PIXELS, (8, 10), 0)))
    assert data.split("train").labels.tolist() == [n % 3 for n in range(12) if n not in (8, 10)]
    whole = ImageFolder(**settings)
    whole.setup("fit")
    assert len(whole.split("train")) == 12
    report = check_folder(tmp_path / "set")
    assert report.classes == {"0": 4, "1": 3, "2": 3, "": 2}
    assert "data=folder" in report.override()


def test_a_set_without_labels(tmp_path: Path, of_folder: dict[str, Any]) -> None:
    shard(tmp_path / "set" / "a.tar", joined(map(sample, range(12))))
    with pytest.raises(MissingData, match=r"set holds no labels beside its images: give each a \.cls"):
        LabelledImageFolder(**{**of_folder, "root": str(tmp_path / "set")}).setup("fit")
    report = check_folder(tmp_path / "set")
    assert (report.labels, report.classes) == (None, {"": 12})


# What a sample is.


def test_what_is_no_image_of_a_sample_is_counted(tmp_path: Path, of_folder: dict[str, Any]) -> None:
    members = {
        "__init__": b"",
        "__meta__/x.png": png(PIXELS[0]),
        "._000000.png": b"",
        "README": b"",
        **sample(0, txt=b"words", cls=b"0"),
        "000000.seg.png": png(PIXELS[9]),
        **sample(1, cls=b"1"),
        "000001.npy": b"",
        "000002.cls": b"7",
        "000002.txt": b"",
        "000003.left.png": png(PIXELS[2]),
        "000003.cls": b"1",
    }
    shard(tmp_path / "set" / "a.tar", members)
    (tmp_path / "set" / "notes.md").write_text("")
    data = LabelledImageFolder(**{**of_folder, "root": str(tmp_path / "set"), "batch_size": 1})
    data.setup("fit")
    assert torch.equal(grey(data), torch.from_numpy(PIXELS[:3]))
    assert data.classes == ["0", "1"]
    passed_over = data.source.reading.passed_over[tmp_path / "set"]
    assert passed_over == {
        **{".txt": 2, ".md": 1, "hidden": 3, "without an extension": 1},
        **{"further images of a sample": 2, "samples without an image": 1},
    }


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([*cls(0).items(), *cls(0).items()], "it holds 000000.cls twice"),
        ([("a.png", b"1"), ("b.png", b"2"), ("a.png", b"3")], "it holds a.png twice"),
        ([("a.png", b"1"), ("./a.PNG", b"2")], "it holds a.png twice, or a.PNG beside it"),
        ([("a.png", b"1"), ("a.jpg", b"2")], "it holds a.png and a.jpg, whose names are one up to the first dot"),
        ([("IMG.2021.png", b"1"), ("IMG.2022.png", b"2")], "it holds IMG.2021.png and IMG.2022.png"),
    ],
)
def test_it_must_be_clear_what_a_sample_is(tmp_path: Path, members: list[tuple[str, bytes]], said: str) -> None:
    shard(tmp_path / "set" / "a.tar", joined(map(cls, range(2))))
    shard(tmp_path / "set" / "b.tar", members)
    with pytest.raises(MissingData) as caught:
        images_in(tmp_path / "set", "")
    assert str(caught.value).startswith(f"{tmp_path}/set/b.tar can't be read: {said}")


def test_one_tar_with_labels_is_a_shard(three: Path, of_folder: dict[str, Any]) -> None:
    data = LabelledImageFolder(**{**of_folder, "root": str(three / "train-1.tar")})
    data.setup("fit")
    assert data.split("train").labels.tolist() == [2, 0, 1, 2]
    for beside in ({}, {"dataset.json": b'{"labels": null}', **cls(3)}, {"notes.json": b"{}"}):
        assert isinstance(opened_archive(shard(three / "a.tar", {**sample(1), **sample(2), **beside})), Tar)


def test_images_beside_shards_are_the_set(three: Path, of_folder: dict[str, Any]) -> None:
    """A folder of images with a .tar in it is one of images, and says what it passed over."""
    Image.fromarray(PIXELS[0]).save(three / "0.png")
    data = ImageFolder(**{**of_folder, "root": str(three), "batch_size": 1})
    data.setup("fit")
    assert len(data.split("train")) == 1
    assert data.description.endswith("passed over: 3 .tar")


# Strangers' shards, and what is missing.


def test_names_and_links_lead_nowhere(tmp_path: Path, of_folder: dict[str, Any]) -> None:
    path = tmp_path / "inside" / "a.tar"
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(PIXELS[11]))
    names = ["../../escape.png", "/etc/escape2.png", "a/../../b.png", "C:\\x\\y.png"]
    shard(path, {name: png(PIXELS[n]) for n, name in enumerate(names)})
    with tarfile.open(path, "a") as file:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE):
            info = tarfile.TarInfo(f"z{kind.decode()}.png")
            info.type, info.linkname = kind, str(secret)
            file.addfile(info)
        sparse = tarfile.TarInfo("zs.png")
        sparse.size, sparse.pax_headers = 3, {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(2**50)}
        file.addfile(sparse, io.BytesIO(b"0\n\n"))
    data = ImageFolder(**{**of_folder, "root": str(path.parent), "batch_size": 1})
    data.setup("fit")
    assert torch.equal(grey(data), torch.from_numpy(PIXELS[:4]))
    assert data.description.endswith("1 shard; passed over: 4 no files, 2 links")
    assert {file for file in tmp_path.rglob("*") if file.is_file() and "cache" not in file.parts} == {path, secret}


def test_a_huge_member_is_not_read(tmp_path: Path) -> None:
    """Of more bytes than its pixels can take: a hole of a file system makes it from nothing."""
    info = tarfile.TarInfo("0.png")
    info.size = 2**36
    path = tmp_path / "set" / "a.tar"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + png(PIXELS[0]))
        file.truncate(2**36 + 512 + 1024)
    archive = opened_archive(path.parent)
    tracemalloc.start()
    with (
        pytest.raises(UnreadableImage, match=r"a\.tar/0\.png: .*64\.0 GiB are more"),
        opened(archive / "a.tar/0.png", max_pixels=10**6),
    ):
        pass
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1700])


def between(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"000007.png")])  # right before its header


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.rindex(b"000007.png") + 130] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "truncated"),
        (between, "truncated: the mark of its end is missing"),
        (flipped, "damaged at byte"),
        (lambda path: path.write_bytes(b""), "too short for a .tar"),
        (lambda path: path.write_bytes(b"\x1f\x8b" + bytes(999)), "it is compressed"),
        (lambda path: path.write_bytes(path.read_bytes() * 2), "it goes on behind its end"),
        (lambda path: (path.unlink(), path.mkdir()), "a folder, no file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "a FIFO, no file"),
        (lambda path: (path.unlink(), path.symlink_to("nowhere")), "a link that leads nowhere"),
    ],
)
def test_the_shard_that_is_damaged_is_named(
    three: Path, of_folder: dict[str, Any], damage: Callable[[Path], object], said: str
) -> None:
    damage(three / "train-1.tar")
    for root in (three, three / "train-*.tar"):
        with pytest.raises(MissingData, match=rf"set/train-1\.tar can't be read: {said}") as caught:
            ImageFolder(**{**of_folder, "root": str(root)}).setup("fit")
        assert "\n" not in str(caught.value)


def test_shards_that_are_not_there_are_said(three: Path) -> None:
    (three / "none").mkdir()
    for name, said in {
        "tren-*.tar": r"no shard matches this pattern, and .*set holds 3 \.tar files, such as train-0\.tar\.",
        "none/*.tar": r"no shard matches this pattern, and .*/none holds no \.tar file\.",
        "nowhere/*.tar": r"no shard matches this pattern, and .*/set holds 3",
        "train-{0..4}.tar": r"2 of its 5 shards are missing, first .*/set/train-3\.tar\.",
        "train-{0..999999999}.tar": r"means 1,000,000,000 shards: give 100,000 or less",
        "train-9.tar": r"train-9\.tar does not exist",
        "none": r"none holds no images",
    }.items():
        with pytest.raises(MissingData, match=said) as caught:
            images_in(three / name, "give a folder")
        assert str(caught.value).startswith(str(three / name))


def test_compressed_shards_are_refused_with_what_unpacks_them(three: Path) -> None:
    """Unless they lie there unpacked as well."""
    for name in ("a.tar.gz", "b.tgz"):
        shutil.copy(three / "train-0.tar", three / name)
    for name, said in {
        ".": r"a\.tar\.gz is compressed, so that no image could be read from its place: gunzip .*/\*\.tar\.gz\.",
        "a.tar.gz": r"a\.tar\.gz is compressed.*: gunzip .*/a\.tar\.gz\.",
        "*.tgz": r"b\.tgz is compressed.*: gunzip .*/b\.tgz\.",
    }.items():
        with pytest.raises(MissingData, match=said):
            images_in(three / name, "give a folder")
    for name in ("a.tar", "b.tar"):
        shard(three / name, sample(1))
    assert len(images_in(three, "")[1].images) == 14


# In the place of other folders.


def test_shards_for_pairs_super_resolution_corruption_and_comparison(
    three: Path, of_folder: dict[str, Any], of_pairs: dict[str, Any]
) -> None:
    shard(three.parent / "b-0.tar", joined(map(sample, range(4))))
    settings = {**of_pairs, "root": str(three.parent), "folder_x": "set", "folder_y": "b-*.tar"}
    settings |= {"test_folder_x": "x/*.tar", "test_folder_y": "x/{x-0,y-0}.tar"}
    for name in ("x", "y"):
        shard(three.parent / "x" / f"{name}-0.tar", sample(5))
    apart = UnpairedFolder(**settings, aligned_test=False)
    apart.setup("fit")
    assert apart.description.startswith("unpaired_folder: 12 + 4 training images")

    for name in ("labels", "label_column", "fit", "cache", "image_size"):
        del of_folder[name]
    settings = {**of_folder, "root": str(three), "test_root": str(three.parent / "x" / "x-0.tar")}
    photographs = SuperResolutionFolder(**settings, scale=2, patch_size=4, blur=None, noise=None, jpeg=None)
    photographs.setup("fit")
    assert "12 training and 1 test images" in photographs.description
    assert [image.name for image in photographs.whole_images(split="test")] == ["000005.png"]

    for images, positions in Originals(three).batches(5):
        assert torch.equal(images[:, 0], torch.from_numpy(PIXELS)[positions])


def test_corrupted_pairs_of_shards(three: Path, of_pairs: dict[str, Any]) -> None:
    settings = {**of_pairs, "root": str(three), "test_root": None, "channels_y": 3}
    how = {"corruption": "mask", "mask": 0.5, "mask_shape": "rectangle", "noise": 10, "small": 2, "blur": 1, "jpeg": 50}
    data = CorruptedFolder(**settings, **how)
    data.setup("fit")
    assert data.description.startswith("corrupted_folder: 12 training pairs")
    batch = data.split("train")[data.split("train").order(torch.Generator())[:5].tolist()]
    assert torch.equal(batch.y[:, 0], torch.from_numpy(PIXELS)[batch.index])


def test_check_data(three: Path) -> None:
    broken = bytearray((three / "train-2.tar").read_bytes())
    broken[broken.rindex(b"IDAT") + 9] ^= 255
    (three / "train-2.tar").write_bytes(broken)
    report = check_folder(three / "train-*.tar", image_size=8)
    lines = report.lines()
    assert lines[0] == f"{three}/train-*.tar: 12 images in 3 shards, 11 readable"
    assert "  classes (3): 0 4, 1 4, 2 4" in lines
    assert list(report.unreadable) == ["train-2.tar/000011.png"]
    assert f"data=labelled_folder 'data.root={three}/train-*.tar'" in report.override()
    assert f"'data.root={three}/train-{{0..2}}.tar'" in check_folder(three / "train-{0..2}.tar").override()


# Through a run.


@pytest.mark.slow
def test_a_resumed_run_is_the_straight_one(
    tmp_path: Path, small: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second epoch, streamed by a worker, with the index of the first half."""
    digits_in_shards(tmp_path / "set")
    settings = ["data=labelled_folder", f"data.root='{tmp_path}/set/{{0..2}}.tar'", "data.channels=1"]
    settings += ["data.memory_limit_mb=0", "data.cache=false", "data.num_workers=1", "data.image_size=16"]
    settings += ["callbacks.checkpoints.every=64", "max_images=96"]
    straight = small("cgan", *settings, f"run_dir={tmp_path / 'straight'}")
    run(straight)
    broken = small("cgan", *settings, f"run_dir={tmp_path / 'broken'}")

    class Stop(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
            if pl_module.images >= 80:
                raise InterruptedError

    begin = L.Trainer.__init__
    stopping: Any = lambda self, *_, callbacks, **more: begin(self, callbacks=[*callbacks, Stop()], **more)
    with monkeypatch.context() as patch:
        patch.setattr(L.Trainer, "__init__", stopping)
        with pytest.raises(InterruptedError):
            run(broken)
    broken.resume = "here"
    run(broken)
    a, b = (read(f"{cfg.run_dir}/checkpoints/last.ckpt") for cfg in (straight, broken))
    assert a["LabelledImageFolder"]["shown"] == a["zoo"]["images"] == 96
    for part in ("state_dict", "optimizer_states", "LabelledImageFolder"):
        assert same(a[part], b[part]), part
