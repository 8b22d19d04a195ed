"""Every pair of a source and a kind of rows that zoo/data/__init__.py names, under the one data module."""

import shutil
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image
from test_images import trainer

from zoo.batch import ImagePairs, LabelledImages, LowHigh
from zoo.data.folder import Folder
from zoo.data.images import Images
from zoo.data.module import DataModule
from zoo.data.pair_folders import PairedImages, TwoFolders
from zoo.data.pairs import Pairs
from zoo.data.patches import Patches
from zoo.data.sources import Arrays, Domains, Memory, resize

FOLDERS = {"folder_x": "x", "folder_y": "y", "test_folder_x": None, "test_folder_y": None}
PAIRED = {**FOLDERS, "suffix_x": "", "suffix_y": "", "folder": "halves", "test_folder": None, "swap": False}


def arrays(n):
    images = torch.randint(0, 256, (n, 3, 9, 9), generator=torch.Generator().manual_seed(n), dtype=torch.uint8)
    return Arrays(images, torch.arange(n), resize)


def memory(make):
    return partial(Memory, make=lambda: {"train": make(), "test": make()})


COMBINATIONS = {  # source, rows, what the source takes besides what all files take
    "memory, images": (memory(lambda: arrays(12)), Images, {}),
    "memory, pairs apart": (memory(lambda: Domains(arrays(12), arrays(9), False)), Pairs, {}),
    "memory, pairs aligned": (memory(lambda: Domains(arrays(12), arrays(12), True)), Pairs, {}),
    "folder, images": (Folder, Images, {"root": "x"}),
    "labelled folder, images": (partial(Folder, labelled=True), Images, {"root": "."}),
    "two folders, pairs apart": (TwoFolders, Pairs, {"aligned_test": False, "root": ".", **FOLDERS}),
    "two folders, pairs aligned": (PairedImages, Pairs, {"layout": "folders", "root": ".", **PAIRED}),
    "halves, pairs": (PairedImages, Pairs, {"layout": "side_by_side", "root": ".", **PAIRED}),
    "zip, images": (Folder, Images, {"root": "x.zip"}),
    "labelled zip, images": (partial(Folder, labelled=True), Images, {"root": "all.zip"}),
    "npz, images": (partial(Folder, labelled=True), Images, {"root": "x.npz"}),
    "archives, pairs apart": (
        TwoFolders,
        Pairs,
        {"aligned_test": False, "root": ".", **FOLDERS, "folder_x": "x.npz", "folder_y": "x.zip"},
    ),
    "zip, patches": (Folder, Patches, {"test_root": None, "root": "x.zip"}),
    "folder, patches": (Folder, Patches, {"test_root": None, "root": "x"}),
}


@pytest.fixture
def compose(tmp_path, of_folder):
    draw = np.random.default_rng(0)
    for folder, shape in {"x": (9, 11, 3), "y": (10, 9, 3), "halves": (9, 20, 3)}.items():
        (tmp_path / "images" / folder).mkdir(parents=True)
        for i in range(14):
            pixels = draw.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / folder / f"{i}.png")
    for name, folder in {"x": "x", "all": "."}.items():
        shutil.make_archive(str(tmp_path / "packed" / name), "zip", tmp_path / "images", folder)
    stack = draw.integers(0, 256, (14, 9, 11, 3), dtype=np.uint8)
    np.savez(tmp_path / "packed" / "x.npz", images=stack, labels=np.arange(14) % 3)
    for path in (tmp_path / "packed").iterdir():
        path.rename(tmp_path / "images" / path.name)

    def make(name, **change):
        source, rows, settings = COMBINATIONS[name]
        kind = {
            Images: {},
            Pairs: {"channels_x": 3, "channels_y": 1, "load_size": 9},
            Patches: {"scale": 2, "patch_size": 4, **dict.fromkeys(("blur", "noise", "jpeg"))},
        }[rows]
        settings = {**of_folder, "flip": True, "test_fraction": 0.3, **kind, **settings, **change}
        if "root" in settings:
            settings["root"] = str(tmp_path / "images" / settings["root"])
        data = DataModule(source, rows, settings)
        data.prepare_data()
        data.setup("fit")
        return data

    return make


def shown(data, number=6):
    """What a model is shown in training, and then in an evaluation."""
    data.trainer = trainer()
    batches = [data.on_after_batch_transfer(batch, 0) for batch in islice(data.train_dataloader(), number)]
    return [*batches, *data.evaluation_loader(split="test", num=7, batch_size=4)]


def equal(ones, others):
    return all(
        torch.equal(a, b) for one, other in zip(ones, others, strict=True) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("name", COMBINATIONS)
def test_it_trains_resumes_and_is_evaluated(compose, name):
    data = compose(name)
    batches = shown(data)
    kind = {Images: LabelledImages, Pairs: ImagePairs, Patches: LowHigh}[COMBINATIONS[name][1]]
    assert {type(batch) for batch in batches} == {kind}
    assert all(batch[0].dtype == torch.float32 and batch[0].abs().max() <= 1 for batch in batches)
    assert [len(batch[0]) for batch in batches] == [4] * 7 + [3]
    resumed = compose(name)
    resumed.load_state_dict(resumed.state_dict() | {"shown": 4 * 4})
    assert equal(shown(resumed, 2), batches[4:])
    assert data.state_dict() == resumed.state_dict()
    assert data.shown == 4 * 6
    assert data.fingerprint("train") == resumed.fingerprint("train")
    assert "training" in data.description
    assert compose(name, seed=5).fingerprint("test") == data.fingerprint("test")


@pytest.mark.parametrize("name", [name for name in COMBINATIONS if "memory" not in name])
def test_files_are_the_same_from_memory_cache_and_stream(compose, name):
    memory = shown(compose(name))
    for cache in (True, False):  # patches always have one
        for _ in range(2):
            assert equal(shown(compose(name, memory_limit_mb=0, cache=cache)), memory)
