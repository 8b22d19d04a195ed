"""Small folders of images, and arguments for the data modules."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def common(tmp_path):
    """Arguments that every set takes."""
    return {
        "image_size": 8,
        "channels": 3,
        "batch_size": 4,
        "num_workers": 0,
        "flip": False,
        "seed": 1,
        "cache_dir": str(tmp_path / "cache"),
    }


@pytest.fixture
def of_folder(common):
    """Arguments that a folder takes besides its root."""
    return {
        **common,
        "fit": "crop",
        "background": "white",
        "on_error": "raise",
        "max_pixels": 10_000,
        "range": None,
        "memory_limit_mb": 100,
        "cache": False,
        "test_fraction": 0.0,
        "labels": None,
        "label_column": None,
    }


@pytest.fixture
def of_pairs(of_folder):
    """Arguments that folders of two domains take."""
    alone = ("channels", "labels", "label_column")
    settings = {key: value for key, value in of_folder.items() if key not in alone}
    return {**settings, "load_size": None, "channels_x": 1, "channels_y": 1}


@pytest.fixture
def images(tmp_path):
    """A folder with 12 images, some of them deeper, and what is to be ignored."""
    root = tmp_path / "images"
    draw = np.random.default_rng(0)
    for i in range(12):
        path = root / ("deeper/still" if i % 3 == 0 else ".") / f"{i:02}.{'PNG' if i % 2 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (10 + i, 14, 3), dtype=np.uint8)).save(path)
    (root / "notes.txt").write_text("not an image")
    (root / ".hidden.png").write_bytes(b"nothing")
    (root / ".cache").mkdir()
    (root / ".cache" / "thumbnail.png").write_bytes(b"nothing")
    return root
