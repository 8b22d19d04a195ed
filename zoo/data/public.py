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
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from zoo.data.embedded import DIGITS, mnist_size
from zoo.data.files import MissingData, opened_regular
from zoo.data.images import ClassedSettings, Images, ImageSettings
from zoo.data.licence import MNIST_TERMS, Licence
from zoo.data.module import DataModule
from zoo.data.reading import MAX_PIXELS
from zoo.data.sources import Arrays, FileReading, Files, Size, Source, Split, resize

Read = Callable[[Split], Any]  # the content of a split
BATCHES = "cifar-10-batches-py"
IDX_FILES: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class PublicSettings(ImageSettings):
    """What a public set takes."""

    root: str  # folder of the set, downloaded to unless it is there; ~ is the home folder


class ClassedPublicSettings(PublicSettings, ClassedSettings):
    """What a public set takes that has classes."""


class Public(Source):
    """Base of the sources that are downloaded to `root` unless they are there."""

    torchvision: str  # the set's class there, which downloads
    layouts: str  # for messages: which files to put into the root

    def __init__(self, settings: PublicSettings, name: str) -> None:
        self.name = name
        self.root: Path = Path(settings["root"]).expanduser()
        self.where = f"data={name} ({self.root})"

    def find(self) -> Read | None:
        """What reads a split, or None if the files are not there. That they are whole shows when they are read."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Download the set unless it is there.

        Raises:
            MissingData: it is not there and cannot be downloaded.
        """
        if self.find() is not None:
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
        read = self.find()
        if read is None:
            raise MissingData(f"{self.where} is not there: put into that folder {self.layouts}.")
        try:
            return {"train": read("train"), "test": read("test")}
        except RuntimeError:  # torchvision's, of files whose MD5 sums differ
            raise MissingData(
                f"{self.where} is missing or damaged (its MD5 sums differ): put into that folder {self.layouts}."
            ) from None

    def npz(self) -> Path | None:
        """The set's .npz: the root itself, or root/<name>.npz."""
        path = self.root if self.root.suffix == ".npz" else self.root / f"{self.name}.npz"
        return path if path.is_file() else None

    def arrays(
        self, split: Split, images: np.ndarray, labels: np.ndarray, to_size: Callable[[Tensor, Size], Tensor],
        *, where: Any,
    ) -> Arrays:  # fmt: skip
        """Images uint8 [N, h, w], [N, h, w, 3] or [N, 3, h, w] with labels of ten classes [N] or [N, 1] as content."""
        labels = labels.reshape(-1).astype(np.int64)
        if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
            images = images.transpose(0, 2, 3, 1)
        if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))):
            kind = f"{images.dtype} {list(images.shape)}"
            raise ValueError(f"{where} holds images of {kind}: wanted are uint8 [N, H, W] or [N, H, W, 3].")
        if len(images) != len(labels):
            raise ValueError(f"{where} holds {len(images):,} images but {len(labels):,} labels.")
        if len(labels) and not 0 <= labels.min() <= labels.max() < 10:
            raise ValueError(f"{self.where} has labels outside 0..9 in its {split} split.")
        pixels = torch.from_numpy(np.ascontiguousarray(images))
        pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
        return Arrays(pixels, torch.from_numpy(labels), to_size)


class MNISTFiles(Public):
    """As .npz, or as idx files in the root itself or in torchvision's layout below it."""

    torchvision = "MNIST"
    layouts = (
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte "
        "(or the same with .gz), or mnist.npz with train_images, train_labels, test_images, test_labels"
    )

    def find(self) -> Read | None:
        folders = (self.root, self.root / self.torchvision / "raw")
        npz = self.npz()
        idx: dict[Split, list[Path]] = {}
        for split, files in IDX_FILES.items():
            paths = ([f / name for f in folders for name in (file, f"{file}.gz")] for file in files)
            idx[split] = [path for each in paths if (path := next(filter(Path.is_file, each), None))]
        if npz is None and not all(len(paths) == 2 for paths in idx.values()):
            return None

        def read(split: Split) -> Arrays:
            images, labels = read_npz(npz, split) if npz else map(read_idx, idx[split])
            content = self.arrays(split, images, labels, mnist_size, where=npz or idx[split][0])
            if content.images.shape[1:] != (1, 28, 28):
                size = tuple(content.images.shape[1:])
                own = f"; images of your own: data=labelled_folder data.root={npz}" if npz else ""
                raise ValueError(f"{self.where} has images of {size}, not 28x28{own}.")
            return content

        return read


class FashionMNISTFiles(MNISTFiles):
    """Files of the same layouts."""

    torchvision = "FashionMNIST"
    layouts = MNISTFiles.layouts.replace("mnist.npz", "fashion_mnist.npz")


class CIFAR10Files(Public):
    """As .npz, or as the authors' batches, in the root itself or below it."""

    torchvision = "CIFAR10"
    layouts = (
        "the folder cifar-10-batches-py or cifar-10-python.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html), "
        "or cifar10.npz with train_images, train_labels, test_images, test_labels"
    )

    def find(self) -> Read | None:
        from torchvision import datasets

        npz, folder = self.npz(), self.root.parent if self.root.name == BATCHES else self.root
        if npz is None and not (folder / BATCHES / "test_batch").is_file():
            return None

        def read(split: Split) -> Arrays:
            if npz is not None:
                return self.arrays(split, *read_npz(npz, split), resize, where=npz)
            batches = datasets.CIFAR10(str(folder), train=split == "train")
            return self.arrays(split, batches.data, np.array(batches.targets), resize, where=folder)

        return read


class CelebAFiles(Public):
    """In the root itself or in torchvision's folder below it; streamed."""

    torchvision = "CelebA"
    layouts = (
        "the folder celeba with img_align_celeba/*.jpg and list_eval_partition.txt "
        "(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html; the download needs pip install gdown)"
    )

    def __init__(self, settings: PublicSettings, name: str) -> None:
        super().__init__(settings, name)
        how = {"background": "black", "on_error": "raise", "max_pixels": MAX_PIXELS, "memory_limit_mb": 0}
        self.reading: FileReading = FileReading({**how, "cache": False, "cache_dir": ""})

    def find(self) -> Read | None:
        folder = self.root if (self.root / "img_align_celeba").is_dir() else self.root / "celeba"
        partition = folder / "list_eval_partition.txt"
        if not (folder / "img_align_celeba").is_dir() or not partition.is_file():
            return None

        def read(split: Split) -> Files:
            rows = [line.split() for line in partition.read_text().splitlines() if line.strip()]
            if not all(len(row) == 2 for row in rows):
                raise ValueError(f"{partition} is damaged: every line must be a file's name and 0, 1 or 2.")
            number = {"train": "0", "test": "2"}[split]  # 1 is the validation split, which nothing here uses
            return Files(folder / "img_align_celeba", [file for file, part in rows if part == number], self.reading)

        return read


class MNIST(DataModule):
    """60,000 training and 10,000 test digits of 28x28."""

    name = "mnist"
    licence = MNIST_TERMS
    names = DIGITS

    def __init__(self, **settings: Unpack[ClassedPublicSettings]) -> None:
        super().__init__(MNISTFiles, Images, settings)


class FashionMNIST(DataModule):
    """60,000 training and 10,000 test articles of clothing, 28x28."""

    name = "fashion_mnist"
    licence = Licence("mit", "Fashion-MNIST, H. Xiao, K. Rasul and R. Vollgraf, Zalando SE: MIT")
    names = [  # noqa: RUF012
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ]

    def __init__(self, **settings: Unpack[ClassedPublicSettings]) -> None:
        super().__init__(FashionMNISTFiles, Images, settings)


class CIFAR10(DataModule):
    """50,000 training and 10,000 test photographs, 32x32 RGB."""

    name = "cifar10"
    licence = Licence(
        "unknown", "CIFAR-10, A. Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html: its authors state no licence"
    )
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]  # noqa: RUF012

    def __init__(self, **settings: Unpack[ClassedPublicSettings]) -> None:
        super().__init__(CIFAR10Files, Images, settings)


class CelebA(DataModule):
    """162,770 training and 19,962 test faces, aligned, 178x218, cropped to the centre; streamed, label 0.

    The download comes from Google Drive through the package gdown (pip install gdown).
    """

    name = "celeba"
    licence = Licence(
        "other", "CelebA, Z. Liu, P. Luo, X. Wang and X. Tang, MMLAB: for non-commercial research purposes only"
    )

    def __init__(self, **settings: Unpack[PublicSettings]) -> None:
        super().__init__(CelebAFiles, Images, settings)


def read_npz(path: Path, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split of an .npz, under our names or Keras'."""
    keys = (f"{split}_images", f"{split}_labels"), (f"x_{split}", f"y_{split}")
    with naming(path), opened_regular(path) as content, np.load(content, allow_pickle=False) as file:
        names = next((names for names in keys if set(names) <= set(file.files)), None)
        if names is None:
            wanted = " or ".join(map(" and ".join, keys))
            holds = ", ".join(file.files) or "nothing"
            raise ValueError(
                f"it holds {holds}, but neither {wanted}; images of your own: data=folder data.root={path}"
            )
        return file[names[0]], file[names[1]]


def read_idx(path: Path) -> np.ndarray:
    """An idx file of unsigned bytes (http://yann.lecun.com/exdb/mnist/), possibly gzipped: uint8 of its shape."""
    with naming(path):
        with opened_regular(path) as file:
            content = gzip.decompress(file.read()) if path.suffix == ".gz" else file.read()
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
