"""Parts of photographs: real images, not those of the test, the same every time."""

import pytest
import torch

from zoo.data.reading import read_picture
from zoo.data.scenes import cut


def test_parts_are_the_same_every_time_and_those_of_the_test_others() -> None:
    first, again, test = cut(6, test=False), cut(6, test=False), cut(6, test=True)
    assert first.images.shape == (6, 3, 128, 128)
    assert first.images.dtype == torch.uint8
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, test.images)
    assert (first.images.float().std(dim=(1, 2, 3)) > 5).all()


def test_a_picture_by_name_or_file() -> None:
    assert read_picture("ihc", 3).shape == (3, 512, 512)
    assert read_picture("retina", 1).shape == (1, 1411, 1411)
    for name in ("nothing", "../data/ihc", "nothing.png"):
        with pytest.raises(
            ValueError, match=r"is no file, and no photograph that comes with the package \(astronaut, .*, ihc, "
        ):
            read_picture(name, 3)
