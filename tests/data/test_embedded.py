"""The sets that come with the package."""

import pytest
import torch

from zoo.data.embedded import Digits, MNIST5k, mnist_size


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def arguments(common, cache):
    return {**common, "image_size": 32, "channels": 1, "cache_dir": str(cache)}


def test_mnist5k_has_its_classes_and_split(arguments):
    data = MNIST5k(**arguments)
    data.prepare_data()
    data.setup("fit")
    train, test = data.sets["train"], data.sets["test"]
    assert train.labels.bincount().tolist() == [400] * 10
    assert test.labels.bincount().tolist() == [100] * 10
    assert train.images.shape == (4000, 1, 32, 32)
    assert train.images.max() == 255
    assert data.classes == list("0123456789")
    assert data.description == (
        "mnist5k: 4,000 training and 1,000 test images, 32x32, 1 channel, "
        "10 classes of 400: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    )
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(batch.image, train.images[batch.index])


def test_mnist5k_sizes(arguments):
    as_it_is = MNIST5k(**{**arguments, "image_size": 28}).split("test").images
    padded = MNIST5k(**{**arguments, "channels": 3}).split("test").images
    assert torch.equal(padded[:, 2:3, 2:30, 2:30], as_it_is)
    assert padded.sum() == 3 * as_it_is.sum()  # around it, black
    assert mnist_size(as_it_is[:9], (64, 16)).shape == (9, 1, 64, 16)


def test_digits(arguments):
    data = Digits(**{**arguments, "image_size": 8})
    train, test = data.sets["train"], data.sets["test"]
    assert len(train) + len(test) == 1797
    share = test.labels.bincount() / (test.labels.bincount() + train.labels.bincount())
    assert (share - 0.2).abs().max() < 0.01
    assert train.images.unique().tolist() == [round(i * 255 / 16) for i in range(17)]
    assert Digits(**arguments).split("test").images.shape == (len(test), 1, 32, 32)
