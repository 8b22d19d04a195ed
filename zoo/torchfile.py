"""Files that torch.save wrote, read as plain data: no code runs, and a bit that flipped is found.

torch.load checks none of the checksums that lie in such a file, a zip archive of uncompressed members; here they are.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor


def load(path: Path, *, archive: bool = True) -> Any:
    """A file's tensors (on the CPU), numbers, strings, lists and dicts.

    Args:
        path: the file.
        archive: whether it has to be a zip archive. Before 2020 torch wrote files without any checksum, such as some
            that torchvision still offers: False takes them as well.

    Raises:
        ValueError: if it can't be read, is damaged, or holds more than plain data. The sentence never quotes torch's
            own, which tells how to load such a file without protection.
    """
    if not path.is_file():  # a pipe would wait for ever
        what = "no file" if path.exists() else "there is no such file"
        raise ValueError(f"{path} can't be read: {what}")
    try:
        if archive or zipfile.is_zipfile(path):
            check_archive(path, path.stat().st_size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, which advise as its errors do
            return torch.load(path, map_location="cpu", weights_only=True)
    except Damaged as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror or 'not a file of torch.save'}") from None
    except Exception as error:  # foreign bytes make the unpickler raise whatever they happen to spell
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError):
            what = f" ({name[1]})" if name else ""
            raise ValueError(f"{path} is refused: it holds more than plain data, which could run code{what}") from None
        raise ValueError(f"{path} can't be read: truncated, or not a file of torch.save") from None


class Damaged(Exception):
    """What is wrong with an archive, as the end of a sentence."""


def check_archive(file: Path | BinaryIO, size: int) -> None:
    """Hold a zip archive to be one that torch.save wrote, whose members unpack to no more than the file's bytes.

    Raises:
        Damaged: if it is compressed, its headers or a checksum do not agree, or its members are larger than `size`.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):  # may unpack to any size
            raise Damaged("it is a compressed archive, which torch.save does not write")
        # Of a member that says it is a folder, torch reads nothing, and leaves in the tensor what was in memory.
        if any(member.compress_size != member.file_size or member.external_attr & 0x10 for member in members):
            raise Damaged("the headers of its archive do not agree")
        if sum(member.file_size for member in members) > size:
            raise Damaged("its members are larger than the file")
        try:
            broken = archive.testzip()
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:  # a header says nonsense
            raise Damaged("the headers of its archive do not agree") from error
        if broken is not None:
            raise Damaged(f"the checksum of its member {broken!a} does not agree")


def check_finite(tensors: Mapping[str, Any], what: str) -> None:
    """Hold weights to be numbers.

    Args:
        tensors: by name; what is no tensor is passed over.
        what: what they belong to, for the sentence.

    Raises:
        ValueError: naming the first tensor that has NaN or infinity in it.
    """
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor) and not tensor.isfinite().all():
            raise ValueError(
                f"{what} has weights that are no numbers (NaN or infinite), {name!a} first: the run had diverged; "
                "take an earlier checkpoint"
            )
