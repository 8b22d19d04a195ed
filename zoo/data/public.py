"""Public benchmark sets: found on disk in any usual layout, or downloaded through torchvision.

- MNIST: LeCun, Cortes & Burges; LeCun et al. 1998, "Gradient-based learning applied to document recognition".
- FashionMNIST: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747.
- CIFAR10: Krizhevsky 2009, "Learning multiple layers of features from tiny images".
- CelebA: Liu, Luo, Wang & Tang 2015, "Deep learning face attributes in the wild", arXiv:1411.7766.

torchvision verifies the MD5 of each archive before it unpacks it, and of each CIFAR-10 file before it unpickles it;
nothing is unpacked here.
"""

import gzip
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from zoo.data.embedded import DIGITS, mnist_size
from zoo.data.files import MissingData
from zoo.data.images import Images, ImageSettings
from zoo.data.module import DataModule
from zoo.data.reading import MAX_PIXELS
from zoo.data.sources import Arrays, FileReading, Files, Size, Source, Split, resize

Read = Callable[[Split], Any]  # the content of a split
BATCHES = "cifar-10-batches-py"
IDX_FILES: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
NPZ_KEYS = (  # of images and labels, ours and Keras'
    {"train": ("train_images", "train_labels"), "test": ("test_images", "test_labels")},
    {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")},
)


class PublicSettings(ImageSettings):
    """What a public set takes."""

    root: str  # folder of the set, downloaded to unless it is there; ~ is the home folder


class Public(Source):
    """A set that is downloaded to `root` unless it is there.

    Args:
        find: looks for the files of such a set: gives what reads a split, or None. That the files are whole shows when
            they are read.
        torchvision: the set's class there, which downloads.
        layouts: for messages: which files to put into the root.
        reading: of a set that is streamed.
    """

    def __init__(
        self, settings: PublicSettings, name: str, *, find: "Callable[[Public], Read | None]",
        torchvision: str, layouts: str, reading: FileReading | None = None,
    ) -> None:  # fmt: skip
        self.root: Path = Path(settings["root"]).expanduser()
        self.name, self.find, self.torchvision = name, find, torchvision
        self.layouts, self.reading = layouts, reading
        self.where = f"data={name} ({self.root})"

    def prepare(self) -> None:
        """Download the set unless it is there.

        Raises:
            MissingData: it is not there and cannot be downloaded.
        """
        if self.find(self) is not None:
            return
        if self.root.suffix == ".npz":
            raise MissingData(f"data.root={self.root} does not exist: give an .npz file that does, or a folder.")
        try:
            from torchvision import datasets

            folder = self.root.parent if self.root.name == BATCHES else self.root
            getattr(datasets, self.torchvision)(str(folder), download=True)
        except (OSError, RuntimeError) as error:  # URLError is an OSError
            reason = " ".join(str(error).split())
            raise MissingData(
                f"data={self.name} is not in {self.root} and could not be downloaded ({reason}). "
                f"Put there {self.layouts}, or set data.root to where they are, or train on data=mnist5k, "
                "which needs no download."
            ) from None

    def splits(self) -> dict[Split, Any]:
        read = self.find(self)
        if read is None:
            raise MissingData(f"{self.where} is not there: put into that folder {self.layouts}.")
        try:
            return {"train": read("train"), "test": read("test")}
        except RuntimeError:  # torchvision's, of files whose MD5 sums differ
            raise MissingData(
                f"{self.where} is missing or damaged (its MD5 sums differ): put into that folder {self.layouts}."
            ) from None


MNIST_LAYOUTS = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte "
    "(or the same with .gz), or mnist.npz with train_images, train_labels, test_images, test_labels"
)


class MNIST(DataModule):
    """60,000 training and 10,000 test digits of 28x28."""

    name = "mnist"
    names = DIGITS

    def __init__(self, **settings: Unpack[PublicSettings]) -> None:
        source = partial(Public, find=find_mnist, torchvision="MNIST", layouts=MNIST_LAYOUTS)
        super().__init__(source, Images, settings)


class FashionMNIST(DataModule):
    """60,000 training and 10,000 test articles of clothing, 28x28."""

    name = "fashion_mnist"
    names = [  # noqa: RUF012
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ]

    def __init__(self, **settings: Unpack[PublicSettings]) -> None:
        layouts = MNIST_LAYOUTS.replace("mnist.npz", "fashion_mnist.npz")
        source = partial(Public, find=find_mnist, torchvision="FashionMNIST", layouts=layouts)
        super().__init__(source, Images, settings)


class CIFAR10(DataModule):
    """50,000 training and 10,000 test photographs, 32x32 RGB."""

    name = "cifar10"
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]  # noqa: RUF012

    def __init__(self, **settings: Unpack[PublicSettings]) -> None:
        layouts = (
            "the folder cifar-10-batches-py or cifar-10-python.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html), "
            "or cifar10.npz with train_images, train_labels, test_images, test_labels"
        )
        source = partial(Public, find=find_cifar10, torchvision="CIFAR10", layouts=layouts)
        super().__init__(source, Images, settings)


class CelebA(DataModule):
    """162,770 training and 19,962 test faces, aligned, 178x218, cropped to the centre; streamed, label 0.

    The download comes from Google Drive through the package gdown (pip install gdown).
    """

    name = "celeba"

    def __init__(self, **settings: Unpack[PublicSettings]) -> None:
        layouts = (
            "the folder celeba with img_align_celeba/*.jpg and list_eval_partition.txt "
            "(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html; the download needs pip install gdown)"
        )
        how = {"background": "black", "on_error": "raise", "max_pixels": MAX_PIXELS, "memory_limit_mb": 0}
        reading = FileReading({**how, "cache": False, "cache_dir": ""})
        source = partial(Public, find=find_celeba, torchvision="CelebA", layouts=layouts, reading=reading)
        super().__init__(source, Images, settings)


def find_mnist(source: Public) -> Read | None:
    """As .npz, or as idx files in the root itself or in torchvision's layout below it."""

    def find(file: str) -> Path | None:
        folders = (source.root, source.root / source.torchvision / "raw")
        paths = (folder / name for folder in folders for name in (file, f"{file}.gz"))
        return next((path for path in paths if path.is_file()), None)

    npz = find_npz(source)
    idx = {split: [path for file in files if (path := find(file))] for split, files in IDX_FILES.items()}
    if npz is None and not all(len(paths) == 2 for paths in idx.values()):
        return None

    def read(split: Split) -> Arrays:
        images, labels = read_npz(npz, split) if npz else map(read_idx, idx[split])
        content = arrays(source, split, images, labels, mnist_size, where=npz or idx[split][0])
        if content.images.shape[1:] != (1, 28, 28):
            raise ValueError(f"{source.where} has images of {tuple(content.images.shape[1:])}, not 28x28.")
        return content

    return read


def find_cifar10(source: Public) -> Read | None:
    """As .npz, or as the authors' batches, in the root itself or below it."""
    from torchvision import datasets

    npz, folder = find_npz(source), source.root.parent if source.root.name == BATCHES else source.root
    if npz is None and not (folder / BATCHES / "test_batch").is_file():
        return None

    def read(split: Split) -> Arrays:
        if npz is not None:
            return arrays(source, split, *read_npz(npz, split), resize, where=npz)
        batches = datasets.CIFAR10(str(folder), train=split == "train")
        return arrays(source, split, batches.data, np.array(batches.targets), resize, where=folder)

    return read


def find_celeba(source: Public) -> Read | None:
    """In the root itself or in torchvision's folder below it."""
    folder = source.root if (source.root / "img_align_celeba").is_dir() else source.root / "celeba"
    partition, reading = folder / "list_eval_partition.txt", source.reading
    assert reading is not None
    if not (folder / "img_align_celeba").is_dir() or not partition.is_file():
        return None

    def read(split: Split) -> Files:
        rows = [line.split() for line in partition.read_text().splitlines() if line.strip()]
        if not all(len(row) == 2 for row in rows):
            raise ValueError(f"{partition} is damaged: every line must be a file's name and 0, 1 or 2.")
        number = {"train": "0", "test": "2"}[split]  # 1 is the validation split, which nothing here uses
        return Files(folder / "img_align_celeba", [file for file, part in rows if part == number], reading)

    return read


def find_npz(source: Public) -> Path | None:
    """The set's .npz: the root itself, or root/<name>.npz."""
    path = source.root if source.root.suffix == ".npz" else source.root / f"{source.name}.npz"
    return path if path.is_file() else None


def read_npz(path: Path, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split of an .npz.

    Raises:
        ValueError: with the path and what is wrong in it.
    """

    with naming(path), np.load(path, allow_pickle=False) as file:
        names = next((keys[split] for keys in NPZ_KEYS if set(keys[split]) <= set(file.files)), None)
        if names is None:
            wanted = " or ".join(" and ".join(keys[split]) for keys in NPZ_KEYS)
            raise ValueError(f"it holds {', '.join(file.files) or 'nothing'}, but neither {wanted}")
        return file[names[0]], file[names[1]]


def read_idx(path: Path) -> np.ndarray:
    """An idx file of unsigned bytes (http://yann.lecun.com/exdb/mnist/), possibly gzipped: uint8 of its shape.

    Raises:
        ValueError: with the path and what is wrong in it.
    """

    with naming(path):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read()
        if len(content) < 4 or content[:3] != b"\0\0\x08":
            raise ValueError("it does not begin as an idx file of bytes does")
        dimensions = content[3]
        shape = np.frombuffer(content, ">u4", dimensions, offset=4).tolist()
        start = 4 + 4 * dimensions
        if len(content) - start != math.prod(shape):
            raise ValueError(f"it is truncated: {len(content) - start:,} bytes of {math.prod(shape):,}")
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Whatever a damaged archive raises inside the block becomes a ValueError that names the path."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}.") from None


def arrays(
    source: Public, split: Split, images: np.ndarray, labels: np.ndarray, to_size: Callable[[Tensor, Size], Tensor],
    *, where: Path,
) -> Arrays:  # fmt: skip
    """Images uint8 [N, h, w], [N, h, w, 3] or [N, 3, h, w] with labels of ten classes [N] or [N, 1], as a content.

    Raises:
        ValueError: they are something else, or differ in number.
    """
    labels = labels.reshape(-1).astype(np.int64)
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))):
        raise ValueError(
            f"{where} holds images of {images.dtype} {list(images.shape)}: wanted are uint8 [N, H, W] or [N, H, W, 3]."
        )
    if len(images) != len(labels):
        raise ValueError(f"{where} holds {len(images):,} images but {len(labels):,} labels.")
    if len(labels) and not 0 <= labels.min() <= labels.max() < 10:
        raise ValueError(f"{source.where} has labels outside 0..9 in its {split} split.")
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    return Arrays(pixels, torch.from_numpy(labels), to_size)
