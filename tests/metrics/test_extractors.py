import urllib.error
from pathlib import Path

import pytest
import torch
import torch_fidelity.feature_extractor_inceptionv3 as fidelity
from safetensors import safe_open
from torchmetrics.image.fid import FrechetInceptionDistance

from zoo.batch import from_bytes, to_bytes
from zoo.data.pixels import classed
from zoo.data.public import CIFAR10, MNIST
from zoo.data.reading import read_picture
from zoo.metrics.extractors import (
    CIFAR10Classifier,
    ColourDigitClassifier,
    DigitClassifier,
    Inception,
    MissingWeights,
    sha256,
)


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory) -> Path:
    """A state dict of random weights in the standard Inception's format."""
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.save(fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict(), path)
    return path


@pytest.fixture
def accept_random(monkeypatch, random_inception):
    monkeypatch.setattr(Inception, "SHA256_PREFIX", sha256(random_inception)[:8])


@pytest.mark.slow
@pytest.mark.usefixtures("accept_random")
def test_inception_features_equal_torch_fidelitys(random_inception):
    extractor = Inception(weights=str(random_inception))
    reference = fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(random_inception))
    images = torch.randint(0, 256, (2, 3, 40, 32), dtype=torch.uint8)

    state = torch.get_rng_state()
    features = extractor(images)
    assert torch.equal(torch.get_rng_state(), state), "loading drew from the training's random state"
    assert features.dtype == torch.float32
    assert features.std() > 0
    assert torch.equal(features, reference(images)[0])

    grey = images[:, :1]
    assert torch.equal(extractor(grey), reference(grey.repeat(1, 3, 1, 1))[0])
    assert extractor.weights_sha256 == sha256(random_inception)
    assert not any(p.requires_grad for p in extractor.parameters())
    assert not any(m.training for m in extractor.train().modules())


def test_inception_refuses_a_wrong_file(random_inception, tmp_path):
    with pytest.raises(ValueError, match=r"random\.pth is not weights-inception-2015-12-05-6726825d\.pth"):
        Inception(weights=str(random_inception))
    with pytest.raises(MissingWeights, match=r"missing\.pth"):
        Inception(weights=str(tmp_path / "missing.pth"))


def test_inception_refuses_a_file_that_is_no_state_dict(monkeypatch, tmp_path):
    path = tmp_path / "cut.pth"
    path.write_bytes(b"half a download")
    monkeypatch.setattr(Inception, "SHA256_PREFIX", sha256(path)[:8])
    with pytest.raises(ValueError, match=r"cut\.pth does not hold"):
        Inception(weights=str(path)).load()


def test_inception_without_network_says_what_to_do(monkeypatch, tmp_path):
    def no_network(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(MissingWeights) as raised:
        Inception().load()
    place = tmp_path / "hub/checkpoints" / Inception.FILE
    for part in ("no network", "v0.2.0", str(place), "metrics.extractor.weights=FILE", "metrics=none"):
        assert part in str(raised.value)


def test_inception_downloads_once_and_checks(monkeypatch, tmp_path):
    calls = []

    def download(url, path, hash_prefix):
        calls.append((url, hash_prefix))
        Path(path).write_bytes(b"not the weights")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        with pytest.raises(ValueError, match="Remove it"):
            Inception().load()
    assert calls == [(fidelity.URL_INCEPTION_V3, "6726825d")]


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    return classed("mnist5k")


@pytest.mark.slow
def test_digit_classifier_reads_digits(digits):
    images, labels = digits
    extractor = DigitClassifier()
    features = torch.cat([extractor(part) for part in images.split(1000)])
    assert extractor.classify(features).eq(labels).float().mean() > 0.99
    assert torch.equal(extractor.logits(images[:10]).argmax(1), extractor.classify(features[:10]))
    assert torch.linalg.matrix_rank(features.double().T.cov()) == extractor.num_features  # no dead feature


@pytest.mark.slow
def test_few_images_a_class_bias_fid_upwards(digits):
    """Real digits against other real digits: the figures in zoo/metrics/evaluation.py's docstring."""
    images, labels = digits
    features = torch.cat([DigitClassifier()(part) for part in images.split(1000)])

    def fid(real, fake):
        metric = FrechetInceptionDistance(torch.nn.Identity(), input_img_size=(64,)).set_dtype(torch.float64)
        metric.update(real.double(), real=True)
        metric.update(fake.double(), real=False)
        return metric.compute().item()

    of_class = [features[labels == digit] for digit in range(10)]
    assert sum(fid(some[0::2], some[1::2]) for some in of_class) / 10 == pytest.approx(0.61, abs=0.005)
    assert fid(features[0::2], features[1::2]) == pytest.approx(0.15, abs=0.005)


def test_digit_classifier_takes_any_size_and_colour(digits):
    images, labels = digits[0][::10], digits[1][::10]
    extractor = DigitClassifier()
    large = torch.nn.functional.interpolate(images.float(), (70, 56), mode="bilinear").round().to(torch.uint8)
    assert extractor.classify(extractor(large)).eq(labels).float().mean() > 0.9
    assert torch.allclose(extractor(images.repeat(1, 3, 1, 1)), extractor(images), atol=1e-4)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    assert torch.equal(extractor(padded), extractor(images))


@pytest.mark.parametrize(
    ("classifier", "least"), [(DigitClassifier, 0.993), (CIFAR10Classifier, 0.84), (ColourDigitClassifier, 0.993)]
)
def test_classifiers_are_small_and_state_their_accuracy(classifier, least):
    assert classifier.FILE.stat().st_size < 2**20
    with safe_open(classifier.FILE, "pt") as file:
        metadata = file.metadata()
    for accuracy in metadata["accuracy"].split(", "):  # of each kind of test images
        assert float(accuracy) >= least
        assert f"{float(accuracy):.2%}".replace("%", " %") in (classifier.__doc__ or "")


def test_one_classifier_reads_digits_plain_and_in_colour(tmp_path):
    """Those of data=colour_digits: both sides of a translation are read as well, so that content kept can be stated."""
    from zoo.data.embedded_pairs import ColourDigits

    data = ColourDigits(
        **{"image_size": 32, "load_size": None, "channels_x": 3, "channels_y": 1, "batch_size": 4, "num_workers": 0},
        **{"flip": False, "seed": 1, "cache_dir": str(tmp_path)},
    )
    batch = data.split("test")[[(i, i) for i in range(500)]]
    extractor = ColourDigitClassifier()
    assert list(extractor.classes) == data.classes
    for images, labels in ((batch.x, batch.label_x), (batch.y, batch.label_y)):
        features = extractor(images)
        assert extractor.classify(features).eq(labels).float().mean() > 0.99
        assert torch.linalg.matrix_rank(features.double().T.cov()) == extractor.num_features  # no dead feature
    assert torch.equal(extractor(batch.y[:, :, 2:30, 2:30]), extractor(batch.y))  # 28x28 is padded to the same


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    """557 squares of 32x32, out of three photographs halved in size."""
    squares = []
    for name in ("chelsea", "coffee", "rocket"):
        picture = from_bytes(torch.from_numpy(read_picture(name, 3))[None])
        half = to_bytes(torch.nn.functional.interpolate(picture, scale_factor=0.5, mode="area"))
        squares.append(half.unfold(2, 32, 16).unfold(3, 32, 16).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 32, 32))
    return torch.cat(squares)


@pytest.mark.slow
def test_cifar10_classifier_looks_at_photographs(photographs):
    """Of any size, or grey; the features are all alive, and mirrored images have nearly the same ones."""
    extractor = CIFAR10Classifier()
    state = torch.get_rng_state()
    features = CIFAR10Classifier()(photographs)
    assert torch.equal(torch.get_rng_state(), state), "construction drew from the training's random state"
    assert features.shape == (len(photographs), 64)
    assert torch.linalg.matrix_rank(features.double().T.cov()) == 64
    assert torch.equal(extractor.logits(photographs).argmax(1), extractor.classify(features))
    large = torch.nn.functional.interpolate(photographs.float(), scale_factor=2, mode="nearest").to(torch.uint8)
    assert (extractor.classify(extractor(large)) == extractor.classify(features)).float().mean() > 0.8
    assert (extractor.classify(extractor(photographs.flip(3))) == extractor.classify(features)).float().mean() > 0.6
    grey = photographs[:9, :1]
    assert torch.equal(extractor(grey), extractor(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("classifier", [DigitClassifier, CIFAR10Classifier])
def test_classifiers_name_the_classes_of_their_data(classifier):
    """Letter for letter: conditional accuracy is measured where they are equal."""
    data = {"mnist": MNIST, "cifar10": CIFAR10}[classifier.name]
    assert list(classifier.classes) == data.names
    assert classifier().logits(torch.zeros(1, 3, 32, 32).byte()).shape == (1, len(data.names))


def test_precision_settings_do_not_change_features(digits):
    images, extractor = digits[0][:50], DigitClassifier()
    expected = extractor(images)
    state = torch.get_rng_state()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")  # bf16 products inside float32, also on the CPU
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(extractor(images), expected)
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.set_float32_matmul_precision(before)
    DigitClassifier()
    assert torch.equal(torch.get_rng_state(), state), "construction drew from the training's random state"


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, 8, 8).byte(), torch.zeros(1, 8, 8).byte()]
)
def test_images_of_another_kind_are_refused(images):
    with pytest.raises(ValueError, match="uint8"):
        DigitClassifier()(images)


def test_every_level_survives_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(from_bytes(levels)), levels)


def test_it_reads_the_small_digits_too(tmp_path):
    """The digits of 8x8, as data=digits enlarges them: `classes_mnist` would mean nothing otherwise."""
    from zoo.data.embedded import Digits

    data = Digits(image_size=32, channels=1, batch_size=4, num_workers=0, flip=False, seed=1, cache_dir=str(tmp_path))
    images, labels, _ = data.split("test")[range(355)]
    assert (DigitClassifier().classify(DigitClassifier()(images)) == labels).float().mean() > 0.85
