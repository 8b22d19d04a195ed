"""Public sets from small files of their layouts, and refused downloads."""

import gzip
import io
import tarfile
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.files import MissingData
from zoo.data.public import CIFAR10, IDX_FILES, MNIST, CelebA, FashionMNIST, read_idx

DRAW = np.random.default_rng(0)


@pytest.fixture
def arrays():
    return {
        "train_images": DRAW.integers(0, 256, (30, 28, 28), dtype=np.uint8),
        "train_labels": np.arange(30) % 10,
        "test_images": DRAW.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        "test_labels": np.arange(10),
    }


def write_idx(path, array, packed=False):
    header = b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if packed else content)


def write_all_idx(folder, arrays, packed=False):
    for split, (images, labels) in IDX_FILES.items():
        for name, kind in ((images, "images"), (labels, "labels")):
            write_idx(folder / (name + ".gz" * packed), arrays[f"{split}_{kind}"], packed)


def assert_reads(data, arrays):
    data.prepare_data()
    data.setup("fit")
    assert len(data.classes) == data.num_classes == 10
    for split in ("train", "test"):
        assert np.array_equal(data.split(split).images[:, 0].numpy(), arrays[f"{split}_images"])
        assert data.split(split).labels.tolist() == arrays[f"{split}_labels"].tolist()


@pytest.mark.parametrize("set_class", [MNIST, FashionMNIST])
@pytest.mark.parametrize("layout", ["npz", "keras", "file", "idx", "gz", "torchvision"])
def test_mnist_is_read_from_any_layout(common, arrays, tmp_path, set_class, layout):
    root = tmp_path
    if layout in ("npz", "keras", "file"):
        names = {"keras": ["x_train", "y_train", "x_test", "y_test"]}.get(layout, list(arrays))
        np.savez(tmp_path / f"{set_class.name}.npz", **dict(zip(names, arrays.values(), strict=True)))
        root = tmp_path / f"{set_class.name}.npz" if layout == "file" else root
    else:
        folder = tmp_path / set_class.__name__ / "raw" if layout == "torchvision" else tmp_path
        write_all_idx(folder, arrays, packed=layout == "gz")
    assert_reads(set_class(root=str(root), **{**common, "image_size": 28, "channels": 1}), arrays)


def test_mnist_at_other_sizes(common, arrays, tmp_path):
    write_all_idx(tmp_path, arrays)
    images = MNIST(root=str(tmp_path), **{**common, "image_size": 32}).split("train").images
    assert images.shape == (30, 3, 32, 32)
    assert np.array_equal(images[:, 1, 2:30, 2:30].numpy(), arrays["train_images"])


def test_damaged_files_are_named(common, arrays, tmp_path):
    arguments = {**common, "image_size": 28, "channels": 1, "root": str(tmp_path)}
    write_all_idx(tmp_path, arrays)
    images = tmp_path / IDX_FILES["train"][0]
    images.write_bytes(images.read_bytes()[:-5])
    with pytest.raises(ValueError, match=rf"{images} cannot be read: it is truncated"):
        MNIST(**arguments).setup("fit")
    images.write_text("<html>")
    with pytest.raises(ValueError, match="does not begin as an idx file"):
        read_idx(images)
    (tmp_path / "broken.gz").write_bytes(gzip.compress(b"\0\0\x08\1")[:-3])
    with pytest.raises(ValueError, match=r"broken\.gz cannot be read"):
        read_idx(tmp_path / "broken.gz")
    write_idx(images, arrays["train_images"][:9])
    with pytest.raises(ValueError, match="9 images but 30 labels"):
        MNIST(**arguments).setup("fit")
    write_idx(images, arrays["train_images"][:, :20])
    with pytest.raises(ValueError, match="not 28x28"):
        MNIST(**arguments).setup("fit")
    np.savez(tmp_path / "mnist.npz", pictures=arrays["train_images"])
    with pytest.raises(ValueError, match=r"mnist\.npz cannot be read: it holds pictures, but neither train_images and"):
        MNIST(**arguments).setup("fit")
    (tmp_path / "mnist.npz").write_bytes(b"PK\3\4")
    with pytest.raises(ValueError, match=r"mnist\.npz cannot be read"):
        MNIST(**arguments).setup("fit")
    np.savez(tmp_path / "mnist.npz", **{**arrays, "train_images": arrays["train_images"].astype(float)})
    with pytest.raises(ValueError, match="float64"):
        MNIST(**arguments).setup("fit")
    np.savez(tmp_path / "mnist.npz", **{**arrays, "test_labels": arrays["test_labels"] + 1})
    with pytest.raises(ValueError, match=r"labels outside 0\.\.9 in its test split"):
        MNIST(**arguments).setup("fit")


def test_arrays_of_objects_are_not_unpickled(common, tmp_path):
    np.savez(tmp_path / "mnist.npz", train_images=np.array([{}]), train_labels=np.array([{}]))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        MNIST(root=str(tmp_path), **common).setup("fit")


@pytest.mark.parametrize("channels_first", [False, True])
def test_cifar10_from_npz(common, tmp_path, channels_first):
    images = DRAW.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    stored = images.transpose(0, 3, 1, 2) if channels_first else images
    labels = (np.arange(20) % 10)[:, None]  # as Keras has them
    np.savez(tmp_path / "cifar10.npz", x_train=stored, y_train=labels, x_test=stored[:5], y_test=labels[:5])
    data = CIFAR10(root=str(tmp_path), **{**common, "image_size": 32})
    data.prepare_data()
    assert np.array_equal(data.split("train").images.permute(0, 2, 3, 1).numpy(), images)
    assert data.split("train").labels.tolist() == labels[:, 0].tolist()
    assert data.classes[9] == "truck"
    assert CIFAR10(root=str(tmp_path), **{**common, "channels": 1}).split("test").images.shape == (5, 1, 8, 8)


def test_cifar10_whose_sums_differ_is_not_unpickled(common, tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    for root in (tmp_path, tmp_path / "cifar-10-batches-py"):
        data = CIFAR10(root=str(root), **common)
        data.prepare_data()
        with pytest.raises(MissingData, match="damaged"):
            data.setup("fit")


def test_an_archive_whose_sum_differs_is_not_extracted(common, tmp_path, monkeypatch):
    """torchvision holds it against its MD5 first: no member of a planted tar leaves the folder, or enters it."""
    folder = tmp_path / "root"
    folder.mkdir()
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../planted"), io.BytesIO())

    def refuse(*args, **kwargs):
        raise URLError("[Errno 111] Connection refused")

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", refuse)
    with pytest.raises(MissingData, match="could not be downloaded"):
        CIFAR10(root=str(folder), **common).prepare_data()
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize(
    ("set_class", "file"),
    [(MNIST, "t10k-labels-idx1-ubyte"), (FashionMNIST, "fashion_mnist.npz"), (CIFAR10, "cifar-10-python.tar.gz")],
)
def test_a_refused_download_says_what_to_put_where(common, tmp_path, monkeypatch, set_class, file):
    from torchvision.datasets import cifar, mnist

    def refuse(*args, **kwargs):
        raise URLError("[Errno 111] Connection refused")

    monkeypatch.setattr(mnist, "download_and_extract_archive", refuse)
    monkeypatch.setattr(cifar, "download_and_extract_archive", refuse)
    with pytest.raises(MissingData) as caught:
        set_class(root=str(tmp_path), **common).prepare_data()
    message = str(caught.value)
    assert all(part in message for part in (f"data={set_class.name}", str(tmp_path), "refused", file, "data=mnist5k"))
    assert "\n" not in message
    with pytest.raises(MissingData, match=r"is not there|is missing"):
        set_class(root=str(tmp_path), **common).setup("fit")
    with pytest.raises(MissingData, match=r"none\.npz does not exist"):
        set_class(root=str(tmp_path / "none.npz"), **common).prepare_data()


def test_celeba(common, tmp_path, monkeypatch):
    from torchvision.datasets import celeba

    def refuse(*args, **kwargs):
        raise RuntimeError("'gdown' is required")

    monkeypatch.setattr(celeba, "download_file_from_google_drive", refuse)
    data = CelebA(root=str(tmp_path), **common)
    with pytest.raises(MissingData, match=r"gdown.*img_align_celeba"):
        data.prepare_data()
    with pytest.raises(MissingData, match="list_eval_partition"):
        data.setup("fit")

    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    lines = []
    for i in range(10):
        Image.new("RGB", (178, 218), (i, i, i)).save(folder / f"{i:06}.jpg")
        lines.append(f"{i:06}.jpg {0 if i < 6 else 1 if i < 8 else 2}")
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text("\n".join(lines))
    for root in (tmp_path, tmp_path / "celeba"):
        data = CelebA(root=str(root), **common)
        data.prepare_data()
        data.setup("fit")
        assert [len(data.split("train")), len(data.split("test"))] == [6, 2]
        batch = data.split("test")[[0, 1]]
        assert batch.image.shape == (2, 3, 8, 8)
        assert batch.image.float().mean((1, 2, 3)).tolist() == [8, 9]
        assert torch.equal(batch.label, torch.zeros(2, dtype=torch.int64))
