"""Archives in the place of folders: what is read of them, what is refused, and that nothing is inflated unseen."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.archives import Zip, images_in, opened_archive
from zoo.data.check import check_folder
from zoo.data.files import MissingData
from zoo.data.folder import ImageFolder, LabelledImageFolder
from zoo.data.pair_folders import PairedFolder, UnpairedFolder
from zoo.data.reading import Reader, UnreadableImage, opened
from zoo.data.super_resolution import SuperResolutionFolder

LEVELS = [[n * 10 + side for side in range(64)] for n in range(12)]
PIXELS = np.array(LEVELS, np.uint8).reshape(12, 8, 8)


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def zipped(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def pictures(folder=lambda n: "00000"):
    return {f"{folder(n)}/img{n:08}.png": png(PIXELS[n]) for n in range(12)}


def of_classes(n):
    return ("cat", "dog")[n % 2]


DATASET = json.dumps({"labels": [[f"00000/img{n:08}.png", n % 3] for n in range(12)]})

SOURCES = {  # what is written at a path, and the name of the file
    "stored .zip": ("set.zip", lambda path: zipped(path, pictures())),
    "deflated .zip": ("set.ZIP", lambda path: zipped(path, pictures(), zipfile.ZIP_DEFLATED)),
    ".zip of .npy": ("set.zip", lambda path: zipped(path, {f"{n:02}.npy": npy(PIXELS[n]) for n in range(12)})),
    ".npz, grey": ("set.npz", lambda path: np.savez(path, images=PIXELS)),
    ".npz, channels last": ("set.npz", lambda path: np.savez_compressed(path, x=PIXELS[..., None].repeat(3, 3))),
    ".npz, channels first": ("set.npz", lambda path: np.savez(path, x_train=PIXELS[:, None])),
    ".npz, floats": ("set.npz", lambda path: np.savez(path, PIXELS[..., None].repeat(3, 3) / 255)),
    ".npz, another name": ("set.npz", lambda path: np.savez(path, photographs=PIXELS, weights=np.arange(3))),
    ".npy": ("set.npy", lambda path: np.save(path, PIXELS)),
}


@pytest.fixture
def source(tmp_path):
    def make(name):
        file, write = SOURCES[name]
        write(tmp_path / file)
        return tmp_path / file

    return make


def grey(data):
    """The images of a set's training split, [N, H, W], in its order."""
    return data.split("train")[list(range(len(data.split("train"))))].image[:, 0]


@pytest.mark.parametrize("name", SOURCES)
def test_every_archive_holds_the_images_that_were_put_into_it(source, of_folder, name):
    data = ImageFolder(root=str(source(name)), **of_folder)
    data.setup("fit")
    assert torch.equal(grey(data), torch.from_numpy(PIXELS))
    stream = ImageFolder(root=str(source(name)), **{**of_folder, "memory_limit_mb": 0, "num_workers": 2})
    stream.setup("fit")
    batches = islice(zip(data.train_dataloader(), stream.train_dataloader(), strict=True), 5)
    assert all(torch.equal(a, b) for one, other in batches for a, b in zip(one, other, strict=True))
    for _ in range(2):
        cached = ImageFolder(root=str(source(name)), **{**of_folder, "cache": True})
        cached.prepare_data()
        cached.setup("fit")
        assert torch.equal(grey(cached), torch.from_numpy(PIXELS))


def test_a_folder_of_arrays_beside_images(tmp_path, of_folder):
    for n in range(12):
        if n % 2:
            np.save(tmp_path / f"{n:02}.npy", PIXELS[n])
        else:
            Image.fromarray(PIXELS[n]).save(tmp_path / f"{n:02}.png")
    data = ImageFolder(root=str(tmp_path), **of_folder)
    assert torch.equal(grey(data), torch.from_numpy(PIXELS))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_zip_is_read_by_processes_that_are_forked_or_started(tmp_path, of_folder, method):
    data = ImageFolder(
        root=str(zipped(tmp_path / "set.zip", pictures())), **{**of_folder, "memory_limit_mb": 0, "num_workers": 2}
    )
    data.setup("fit")
    one = data.split("train")[[3]]  # opened here before
    loader = data.train_dataloader()
    loader.multiprocessing_context = method
    for batch in islice(loader, 6):
        assert torch.equal(batch.image[:, 0], torch.from_numpy(PIXELS)[batch.index])
    assert torch.equal(one.image[0, 0], torch.from_numpy(PIXELS[3]))
    assert pickle.loads(pickle.dumps(opened_archive(tmp_path / "set.zip"))).names == Zip(tmp_path / "set.zip").names


@pytest.mark.parametrize(
    ("members", "classes"),
    [
        (pictures(of_classes), ["cat", "dog"]),
        ({f"pets/{name}": content for name, content in pictures(of_classes).items()}, ["cat", "dog"]),
        ({name.replace("/", "\\"): content for name, content in pictures(of_classes).items()}, ["cat", "dog"]),
        ({**pictures(), "dataset.json": DATASET}, ["0", "1", "2"]),
        (
            {**{f"set/{name}": content for name, content in pictures().items()}, "set/dataset.json": DATASET},
            list("012"),
        ),
    ],
)
def test_the_labels_of_a_zip(tmp_path, of_folder, members, classes):
    members |= {"__MACOSX/._x.png": b"", "pets/.DS_Store": b""}
    data = LabelledImageFolder(root=str(zipped(tmp_path / "set.zip", members)), **of_folder)
    data.setup("fit")
    assert data.classes == classes
    batch = data.split("train")[list(range(12))]
    assert (batch.image[:, 0, 0, 0] // 10 % len(classes)).tolist() == batch.label.tolist()


@pytest.mark.parametrize(
    ("labels", "classes", "attributes"),
    [
        (np.arange(12) % 2 * 3, ["0", "3"], []),
        ((np.arange(12) % 2)[:, None], ["0", "1"], []),
        (np.array(["cat", "dog"])[np.arange(12) % 2], ["cat", "dog"], []),
        (np.stack([np.arange(12) % 2, np.ones(12)], 1), [], ["0", "1"]),
    ],
)
def test_the_labels_of_an_npz(tmp_path, of_folder, labels, classes, attributes):
    np.savez(tmp_path / "set.npz", images=PIXELS, labels=labels)
    data = LabelledImageFolder(root=str(tmp_path / "set.npz"), **of_folder)
    data.setup("fit")
    assert (data.classes, data.attributes) == (classes, attributes)
    got = data.split("train").labels
    assert (got if classes else got[:, 0]).tolist() == [n % 2 for n in range(12)]


def test_the_names_of_an_npz_and_what_it_holds_besides(tmp_path, of_folder):
    more = {"class_names": np.array(["cat", "dog"]), "x_test": PIXELS}
    np.savez(tmp_path / "set.npz", x_train=PIXELS, y_train=np.arange(12) % 2, **more)
    data = LabelledImageFolder(root=str(tmp_path / "set.npz"), **of_folder)
    data.setup("fit")
    assert data.description.endswith("passed over: 1 array x_test")
    assert data.classes == ["cat", "dog"]
    np.savez(tmp_path / "none.npz", images=PIXELS)
    with pytest.raises(MissingData, match="holds no labels beside its images"):
        _ = LabelledImageFolder(root=str(tmp_path / "none.npz"), **of_folder).classes
    np.savez(tmp_path / "few.npz", images=PIXELS, labels=np.arange(3))
    with pytest.raises(MissingData, match="3 labels for 12 images"):
        _ = LabelledImageFolder(root=str(tmp_path / "few.npz"), **of_folder).classes


@pytest.mark.parametrize("kind", ["zip", "npz"])
def test_the_fingerprint_follows_the_content(tmp_path, of_folder, kind):
    def write(pixels):
        if kind == "zip":
            return zipped(tmp_path / "set.zip", {f"{n}.npy": npy(pixels[n]) for n in range(12)})  # of equal sizes
        np.savez(tmp_path / "set.npz", images=pixels)
        return tmp_path / "set.npz"

    def prints(pixels):
        root = str(write(pixels))
        return ImageFolder(root=root, **{**of_folder, "memory_limit_mb": 0}).fingerprint("train")

    before = prints(PIXELS)
    assert prints(PIXELS) == before  # whenever it was written
    changed = PIXELS.copy()
    changed[7, 3, 3] += 1
    assert prints(changed) != before


# Hostile and damaged ones.


def corrupt_crc(path):
    with zipfile.ZipFile(path) as file:
        info = file.infolist()[5]
    content = bytearray(path.read_bytes())
    content[info.header_offset + 30 + len(info.filename) + info.file_size - 20] ^= 1
    path.write_bytes(content)


def encrypted(path):
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        for _ in range(6):  # of the sixth member
            at = content.index(mark, at + 1)
        content[at + offset] |= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"), [(corrupt_crc, "Bad CRC-32"), (encrypted, "encrypted")], ids=["checksum", "encrypted"]
)
def test_a_damaged_member_is_as_any_unreadable_file(tmp_path, of_folder, damage, said):
    path = zipped(tmp_path / "set.zip", pictures())
    damage(path)
    with pytest.raises(UnreadableImage, match=rf"set\.zip/00000/img00000005\.png: .*{said}"):
        ImageFolder(root=str(path), **of_folder).setup("fit")
    data = ImageFolder(root=str(path), **{**of_folder, "on_error": "skip"})
    with pytest.warns(UserWarning, match="1 of 12 files"):
        data.setup("fit")
    assert data.skipped == ["00000/img00000005.png"]
    assert torch.equal(grey(data), torch.from_numpy(np.delete(PIXELS, 5, 0)))


def bomb(path, name, head=b"", size=3 * 2**30):
    """A .zip whose one member inflates to `size` bytes of zeros behind `head`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("good.png", png(PIXELS[0]))
        with file.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
            member.write(head)
            block = bytes(2**24)
            for _ in range(size // 2**24):
                member.write(block)
    return path


def claims(path, size):
    """Let the last member claim another size than it has."""
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.rindex(mark) + offset, size)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "head", "said"),
    [
        ("bomb.png", png(PIXELS[0]), r"claims .* GiB for 8x8 pixels"),
        ("bomb.png", b"", "not an image"),
        ("bomb.npy", npy(np.zeros((2**14, 2**14, 1), np.uint8))[:128], "oversized"),
        ("bomb.npy", npy(PIXELS[0]), "truncated"),
    ],
)
def test_a_bomb_is_refused_before_it_is_inflated(tmp_path, name, head, said):
    archive = opened_archive(bomb(tmp_path / "set.zip", name, head, size=2**29))
    tracemalloc.start()
    with pytest.raises(UnreadableImage, match=said), opened(archive / name, max_pixels=10_000):
        pass
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    with opened(archive / "good.png", max_pixels=10_000) as image:
        assert image.size == (8, 8)


def test_labels_are_not_inflated_beyond_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.data.archives.DEAR", 1000)
    np.savez_compressed(tmp_path / "set.npz", images=PIXELS, labels=np.zeros(10_000))
    with pytest.raises(MissingData, match=r"labels takes .* too much for labels"):
        opened_archive(tmp_path / "set.npz")


def test_a_member_that_lies_about_its_size_is_read_no_further(tmp_path):
    path = bomb(tmp_path / "set.zip", "bomb.png", png(PIXELS[0]), size=2**25)
    claims(path, 1000)
    with pytest.raises(UnreadableImage, match="bomb"), opened(opened_archive(path) / "bomb.png", max_pixels=10_000):
        pass


def test_names_lead_nowhere(tmp_path, of_folder):
    names = ["../../escape.png", "/etc/escape.png", "a/../../b.png", "C:\\x\\y.png"]
    inside = tmp_path / "inside"
    inside.mkdir()
    path = zipped(inside / "set.zip", dict.fromkeys(names, png(PIXELS[0])))
    data = ImageFolder(root=str(path), **{**of_folder, "batch_size": 1})
    data.setup("fit")
    assert len(data.split("train")) == 4
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("kind", ["npz", "npy", "labels", "member"])
def test_python_objects_are_never_read(tmp_path, of_folder, kind):
    objects = np.array([Evil(str(tmp_path / "pwned"))] * 12, dtype=object)
    path = tmp_path / f"set.{'npy' if kind == 'npy' else 'zip' if kind == 'member' else 'npz'}"
    if kind == "npz":
        np.savez(path, images=objects)
    elif kind == "labels":
        np.savez(path, images=PIXELS, labels=objects)
    elif kind == "npy":
        np.save(path, objects)
    else:
        zipped(path, {"0.npy": npy(objects)})
    with pytest.raises((MissingData, UnreadableImage), match=r"set\.\w+.*(Python objects|allow_pickle)"):
        (LabelledImageFolder if kind == "labels" else ImageFolder)(root=str(path), **of_folder).setup("fit")
    assert not (tmp_path / "pwned").exists()


def test_files_that_are_no_archives_are_named(tmp_path):
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npz").write_bytes(b"")
    zipped(tmp_path / "cut.zip", pictures()).write_bytes((tmp_path / "cut.zip").read_bytes()[:2000])
    zipped(tmp_path / "nested.zip", {"inner.zip": b"PK", "notes.txt": b""})
    np.savez(tmp_path / "vectors.npz", a=np.arange(3), b=np.arange(4))
    np.savez(tmp_path / "planes.npz", images=np.zeros((3, 9, 9, 7), np.uint8))
    np.savez(tmp_path / "words.npz", images=np.full((3, 9, 9), "a"))
    np.save(tmp_path / "cut.npy", PIXELS)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:300])
    os.mkfifo(tmp_path / "fifo.zip")
    for name, said in {
        "text.zip": "can't be read",
        "text.npy": "can't be read",
        "empty.npz": "can't be read",
        "cut.zip": "damaged or truncated",
        "nested.zip": r"holds no images: .*passed over: 1 \.txt, 1 \.zip",
        "vectors.npz": r"it holds a, b: call the array of the images",
        "planes.npz": r"images is of shape \[3, 9, 9, 7\]",
        "words.npz": "images hold numbers",
        "cut.npy": "can't be read",
        "fifo.zip": "is no regular file",
        "nowhere.zip": "does not exist",
    }.items():
        with pytest.raises(MissingData, match=said) as caught:
            images_in(tmp_path / name, "give a folder")
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 2, 2, 2), np.uint8), "shape"),
        (np.zeros((200, 200), np.uint8), "oversized"),
        (np.full((4, 4, 3), 7.5), "scale is not known"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4, 3), 70_000, np.int64), "scale is not known"),
        (np.full((4, 4), "a"), "holds numbers"),
        (np.full((4, 4), 1j), "holds numbers"),
        (np.zeros((0, 4), np.uint8), "shape"),
    ],
)
def test_an_array_that_is_no_image_is_unreadable(tmp_path, array, said):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UnreadableImage, match=said):
        Reader((4, 4), 1, "crop", (0, 0, 0), 10_000, None, None)(tmp_path / "x.npy")


# In the place of other folders.


def test_archives_of_pairs(tmp_path, of_pairs):
    x = zipped(tmp_path / "x.zip", pictures())
    np.savez(tmp_path / "y.npz", images=255 - PIXELS)
    zipped(
        tmp_path / "partners.zip",
        {name.replace("png", "PNG"): png(255 - PIXELS[n]) for n, name in enumerate(pictures())},
    )
    settings = {**of_pairs, "root": str(tmp_path)}
    settings |= {"folder_x": x.name, "folder_y": "y.npz", "test_folder_x": None, "test_folder_y": None}
    apart = UnpairedFolder(**settings, aligned_test=False)
    apart.setup("fit")
    assert apart.description.startswith("unpaired_folder: 12 + 12 training images")
    how = {"layout": "folders", "suffix_x": "", "suffix_y": "", "folder": None, "test_folder": None, "swap": False}
    paired = PairedFolder(**{**settings, "folder_y": "partners.zip"}, **how)
    paired.setup("fit")
    pairs = paired.split("train")[list(range(12))]
    assert torch.equal(pairs.x + pairs.y, torch.full_like(pairs.x, 255))
    with pytest.raises(MissingData, match=r"y\.npz is a file: .*data\.folder_x=FILE\.npz"):
        UnpairedFolder(**{**settings, "root": str(tmp_path / "y.npz")}, aligned_test=False).setup("fit")


def test_a_path_into_a_zip(tmp_path, of_folder):
    """The folders inside a .zip stand where folders can."""
    path = zipped(tmp_path / "set.zip", pictures(lambda n: f"set/{'train' if n < 8 else 'test'}/{of_classes(n)}"))
    with pytest.raises(MissingData, match=r"holds splits .* set data\.root=.*/set\.zip/train"):
        LabelledImageFolder(**{**of_folder, "root": str(path)}).setup("fit")
    for inside in ("train", "set/train", "./set/train/"):
        data = LabelledImageFolder(**{**of_folder, "root": f"{path}/{inside}"})
        data.setup("fit")
        assert "8 training images, 8x8, 3 channels, 2 classes of 4: cat, dog" in data.description
    assert pickle.loads(pickle.dumps(Zip(path / "train"))).names == Zip(path / "train").names
    assert Zip(path / "train") != Zip(path / "test")
    assert check_folder(path / "train").labelled
    for wrong in ("trian", "trai", "train/cat/img00000000.png"):
        with pytest.raises(MissingData, match=rf"set\.zip holds no folder {wrong}"):
            ImageFolder(**{**of_folder, "root": str(path / wrong)}).setup("fit")


def test_both_domains_in_one_zip(tmp_path, of_pairs):
    members = {name: png(255 - PIXELS[n]) for n, name in enumerate(pictures(lambda n: "h2z/trainB"))}
    path = zipped(tmp_path / "h2z.zip", {**pictures(lambda n: "h2z/trainA"), **members})
    settings = {**of_pairs, "root": str(path), "folder_x": "trainA", "folder_y": "trainB"}
    settings |= {"test_folder_x": "testA", "test_folder_y": "testB"}
    apart = UnpairedFolder(**settings, aligned_test=False)
    apart.setup("fit")
    assert apart.description == "unpaired_folder: 12 + 12 training images, 8x8, 1 + 1 channels"
    how = {"layout": "folders", "suffix_x": "", "suffix_y": "", "folder": None, "test_folder": None, "swap": False}
    paired = PairedFolder(**settings, **how)
    paired.setup("fit")
    pairs = paired.split("train")[list(range(12))]
    assert torch.equal(pairs.x + pairs.y, torch.full_like(pairs.x, 255))
    with pytest.raises(MissingData, match=r"h2z\.zip holds no folder A"):
        UnpairedFolder(**{**settings, "folder_x": "A"}, aligned_test=False).setup("fit")
    with_tests = zipped(tmp_path / "t.zip", {f"{name}/0.png": png(PIXELS[0]) for name in ("trainA", "trainB", "testA")})
    with pytest.raises(MissingData, match=r"t\.zip holds no folder testB"):
        UnpairedFolder(**{**settings, "root": str(with_tests)}, aligned_test=False).setup("fit")


def test_one_image_is_no_stack(tmp_path, of_folder):
    np.save(tmp_path / "one.npy", PIXELS[0][..., None].repeat(3, 2))
    with pytest.raises(MissingData, match=r"of shape \[8, 8, 3\], one image: give several"):
        ImageFolder(**{**of_folder, "root": str(tmp_path / "one.npy")}).setup("fit")


def test_archives_for_super_resolution(tmp_path, of_folder):
    for name in ("labels", "label_column", "fit", "cache", "image_size"):
        del of_folder[name]
    zipped(tmp_path / "set.zip", pictures())
    np.save(tmp_path / "tests.npy", PIXELS[:3])
    settings = {**of_folder, "root": str(tmp_path / "set.zip"), "test_root": str(tmp_path / "tests.npy")}
    settings |= {"scale": 2, "patch_size": 4, "blur": None, "noise": None, "jpeg": None}
    data = SuperResolutionFolder(**settings)
    data.setup("fit")
    assert "12 training and 3 test images" in data.description
    names = [image.name for image in data.whole_images(split="test")]
    assert names == ["0", "1", "2"]


def test_check_data_reads_a_dataset_json(tmp_path):
    for name, content in {**pictures(), "dataset.json": DATASET.encode()}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    report = check_folder(tmp_path, image_size=8)
    assert report.classes == {"0": 4, "1": 4, "2": 4}
    assert not report.passed_over
    assert "data=labelled_folder" in report.override()
    (tmp_path / "dataset.json").write_text("{}")
    assert any("labels: dataset.json has no labels" in line for line in check_folder(tmp_path).lines())


def test_check_data_of_an_archive(tmp_path):
    path = zipped(tmp_path / "set.zip", {**pictures(of_classes), "notes.txt": b"x", "cat/again.png": png(PIXELS[0])})
    corrupt_crc(path)
    report = check_folder(path, image_size=8)
    assert (report.images, report.readable) == (13, 12)
    assert list(report.unreadable) == ["dog/img00000005.png"]
    assert report.classes == {"cat": 7, "dog": 6}
    assert report.duplicates == [["cat/again.png", "cat/img00000000.png"]]
    assert f"data=labelled_folder data.root={path}" in report.override()
    np.savez(tmp_path / "set.npz", images=PIXELS, labels=np.arange(12) % 2, class_names=np.array(["cat", "dog"]))
    report = check_folder(tmp_path / "set.npz", image_size=8)
    assert report.classes == {"cat": 6, "dog": 6}
    assert f"data=labelled_folder data.root={tmp_path / 'set.npz'}" in report.override()
