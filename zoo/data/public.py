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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from zoo.data.embedded import DIGITS, mnist_size
from zoo.data.folder import StreamedImages
from zoo.data.images import ImageDataModule, ImageSet, InMemoryImages, MissingData, Split, resize, with_channels
from zoo.data.reading import MAX_PIXELS, Reader

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 [N, h, w] or [N, h, w, 3], labels int64 [N]

IDX_FILES: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
NPZ_KEYS = (  # of images and labels, ours and Keras'
    {"train": ("train_images", "train_labels"), "test": ("test_images", "test_labels")},
    {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")},
)


class PublicImages(ImageDataModule):
    """A public set that is downloaded to `root` unless it is there.

    Args:
        root: folder of the set; ~ is the home folder. What may lie in it: `layouts`.
        (others: `ImageDataModule`)
    """

    layouts: ClassVar[str]  # for messages: which files to put into the root

    def __init__(
        self,
        *,
        root: str,
        image_size: int | Sequence[int],
        channels: int,
        batch_size: int,
        num_workers: int | str,
        flip: bool,
        seed: int,
        cache_dir: str,
    ) -> None:
        super().__init__(
            image_size=image_size,
            channels=channels,
            batch_size=batch_size,
            num_workers=num_workers,
            flip=flip,
            seed=seed,
            cache_dir=cache_dir,
        )
        self.root = Path(root).expanduser()

    def where(self) -> str:
        return f"data={self.name} ({self.root})"

    def on_disk(self) -> bool:
        """Whether the files are there; that they are whole shows when they are read."""
        raise NotImplementedError

    def download(self) -> None:
        """Fetch the files through torchvision."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Download the set unless it is there.

        Raises:
            MissingData: it is not there and cannot be downloaded.
        """
        if self.on_disk():
            return
        if self.root.suffix == ".npz":
            raise MissingData(f"data.root={self.root} does not exist: give an .npz file that does, or a folder.")
        try:
            self.download()
        except (OSError, RuntimeError) as error:  # URLError is an OSError
            reason = " ".join(str(error).split())
            raise MissingData(
                f"data={self.name} is not in {self.root} and could not be downloaded ({reason}). "
                f"Put there {self.layouts}, or set data.root to where they are, or train on data=mnist5k, "
                "which needs no download."
            ) from None

    def missing(self) -> MissingData:
        return MissingData(f"{self.where()} is not there: put into that folder {self.layouts}.")


class InMemoryPublicImages(PublicImages):
    """A public set that is small enough for memory: one array of images and one of labels a split."""

    def read(self, split: Split) -> Arrays:
        """The split's arrays.

        Raises:
            MissingData: no files.
            ValueError: a damaged file, by its path.
        """
        raise NotImplementedError

    def to_size(self, images: Tensor) -> Tensor:
        """uint8 [N, C, h, w] -> [N, C, H, W]."""
        return resize(images, self.image_size)

    def load(self) -> dict[Split, ImageSet]:
        return {"train": self._part("train"), "test": self._part("test")}

    def _part(self, split: Split) -> InMemoryImages:
        pixels, labels = self.read(split)
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.names):
            raise ValueError(f"{self.where()} has labels outside 0..{len(self.names) - 1} in its {split} split.")
        images = torch.from_numpy(pixels)
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        return InMemoryImages(with_channels(self.to_size(images), self.channels), torch.from_numpy(labels))


class MNIST(InMemoryPublicImages):
    """60,000 training and 10,000 test digits of 28x28."""

    name = "mnist"
    names = DIGITS
    torchvision_name = "MNIST"
    layouts = (
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte "
        "(or the same with .gz), or mnist.npz with train_images, train_labels, test_images, test_labels"
    )

    def to_size(self, images: Tensor) -> Tensor:
        if images.shape[1:] != (1, 28, 28):
            raise ValueError(f"{self.where()} has images of {tuple(images.shape[1:])}, not 28x28.")
        return mnist_size(images, self.image_size)

    def on_disk(self) -> bool:
        return find_npz(self.root, self.name) is not None or self.find_idx() is not None

    def find_idx(self) -> dict[Split, tuple[Path, Path]] | None:
        """Images and labels of each split as idx files, in the root itself or in torchvision's layout below it."""

        def find(file: str) -> Path | None:
            folders = (self.root, self.root / self.torchvision_name / "raw")
            there = (folder / name for folder in folders for name in (file, f"{file}.gz"))
            return next((path for path in there if path.is_file()), None)

        found: dict[Split, tuple[Path, Path]] = {}
        for split, (images, labels) in IDX_FILES.items():
            image_file, label_file = find(images), find(labels)
            if image_file is None or label_file is None:
                return None
            found[split] = image_file, label_file
        return found

    def download(self) -> None:
        from torchvision import datasets

        getattr(datasets, self.torchvision_name)(str(self.root), download=True)

    def read(self, split: Split) -> Arrays:
        npz, idx = find_npz(self.root, self.name), self.find_idx()
        if npz is not None:
            return read_npz(npz, split)
        if idx is None:
            raise self.missing()
        images, labels = (read_idx(path) for path in idx[split])
        return paired(images, labels, where=str(idx[split][0]))


class FashionMNIST(MNIST):
    """60,000 training and 10,000 test articles of clothing, 28x28."""

    name = "fashion_mnist"
    names = [  # noqa: RUF012
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ]
    torchvision_name = "FashionMNIST"
    layouts = MNIST.layouts.replace("mnist.npz", "fashion_mnist.npz")


class CIFAR10(InMemoryPublicImages):
    """50,000 training and 10,000 test photographs, 32x32 RGB."""

    name = "cifar10"
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]  # noqa: RUF012
    layouts = (
        "the folder cifar-10-batches-py or cifar-10-python.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html), "
        "or cifar10.npz with train_images, train_labels, test_images, test_labels"
    )

    def on_disk(self) -> bool:
        return find_npz(self.root, self.name) is not None or (self.batches_folder() / "test_batch").is_file()

    def batches_folder(self) -> Path:
        folder = "cifar-10-batches-py"
        return self.root if self.root.name == folder else self.root / folder

    def download(self) -> None:
        from torchvision import datasets

        datasets.CIFAR10(str(self.batches_folder().parent), download=True)

    def read(self, split: Split) -> Arrays:
        from torchvision import datasets

        npz = find_npz(self.root, self.name)
        if npz is not None:
            return read_npz(npz, split)
        try:
            images = datasets.CIFAR10(str(self.batches_folder().parent), train=split == "train")
        except RuntimeError:
            raise MissingData(
                f"{self.where()} is missing or damaged (its MD5 sums differ): put into that folder {self.layouts}."
            ) from None
        return paired(np.ascontiguousarray(images.data), np.array(images.targets), where=str(self.root))


class CelebA(PublicImages):
    """162,770 training and 19,962 test faces, aligned, 178x218, cropped to the centre; streamed, label 0.

    The download comes from Google Drive through the package gdown (pip install gdown).
    """

    name = "celeba"
    layouts = (
        "the folder celeba with img_align_celeba/*.jpg and list_eval_partition.txt "
        "(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html; the download needs pip install gdown)"
    )

    def folder(self) -> Path:
        """The folder that holds img_align_celeba: torchvision's root/celeba, or the root itself."""
        return self.root if (self.root / "img_align_celeba").is_dir() else self.root / "celeba"

    def on_disk(self) -> bool:
        folder = self.folder()
        return (folder / "img_align_celeba").is_dir() and (folder / "list_eval_partition.txt").is_file()

    def download(self) -> None:
        from torchvision import datasets

        datasets.CelebA(str(self.root), download=True)

    def load(self) -> dict[Split, ImageSet]:
        if not self.on_disk():
            raise self.missing()
        partition = self.folder() / "list_eval_partition.txt"
        rows = [line.split() for line in partition.read_text().splitlines() if line.strip()]
        if not all(len(row) == 2 for row in rows):
            raise ValueError(f"{partition} is damaged: every line must be a file's name and 0, 1 or 2.")
        reader = Reader(self.image_size, self.channels, "crop", (0, 0, 0), MAX_PIXELS)

        def part(number: str) -> StreamedImages:
            files = [file for file, its_number in rows if its_number == number]
            labels = torch.zeros(len(files), dtype=torch.int64)
            return StreamedImages(self.folder() / "img_align_celeba", files, labels, reader, skip=False)

        return {"train": part("0"), "test": part("2")}  # 1 is the validation split, which nothing here uses


def find_npz(root: Path, name: str) -> Path | None:
    """The set's .npz: the root itself, or root/<name>.npz."""
    path = root if root.suffix == ".npz" else root / f"{name}.npz"
    return path if path.is_file() else None


def read_npz(path: Path, split: Split) -> Arrays:
    """A split of an .npz.

    Raises:
        ValueError: with the path and what is wrong in it.
    """

    with naming(path), np.load(path, allow_pickle=False) as file:
        names = next((keys[split] for keys in NPZ_KEYS if set(keys[split]) <= set(file.files)), None)
        if names is None:
            wanted = " or ".join(" and ".join(keys[split]) for keys in NPZ_KEYS)
            raise ValueError(f"it holds {', '.join(file.files) or 'nothing'}, but neither {wanted}")
        images, labels = (file[name] for name in names)
    return paired(images, labels, where=str(path))


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


def paired(images: np.ndarray, labels: np.ndarray, *, where: str) -> Arrays:
    """Images uint8 [N, h, w] or [N, h, w, 3] with labels int64 [N].

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
    return np.ascontiguousarray(images), labels
