"""Feature extractors: what the Frechet distance, precision and recall look at instead of pixels.

An extractor maps uint8 images [N, C, H, W], C in {1, 3}, any H and W, to float32 features [N, num_features]. It is
frozen, always in evaluation mode, and computes in plain float32 whatever autocast or TF32 setting surrounds it, so
that a value does not depend on the precision of a training run.

`Inception` is the standard one: the FID computed from it is called plain `fid`. Every other extractor carries its name:
`fid_mnist`. The two are never comparable.
"""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torchmetrics.image.fid import NoTrainInceptionV3

from zoo import torchfile
from zoo.networks.classifiers import (
    CIFAR10Network,
    ColourDigitNetwork,
    DigitNetwork,
    Residual,
    SmallNetwork,
    weights_of,
)


class MissingWeights(ValueError):
    """Weights that can't be had. The message says which file, where to put it, and what else to do."""


class Extractor(nn.Module):
    """Base of all extractors: the frame of a forward pass. Subclasses write `load`, where needed, and `features`."""

    name: str  # "" for the standard Inception; otherwise the suffix of its metrics' keys
    distance: str = "fid"  # what the Frechet distance is called: fid_mnist, fd_dinov2
    num_features: int
    classes: Sequence[str] = ()  # their names, by number, where it classifies into classes of data
    num_logits: int = 0  # of `logits_of`; 0 where there is none
    embeds = False  # whether the angle between features is what its network was trained for, as CLIP's
    resize: str  # what it does to the images, for the protocol
    weights_sha256: str  # of the weights' file; known once loaded

    def protocol(self) -> dict[str, str | int | float | bool]:
        """What must be equal for two values to be comparable; known once loaded."""
        name = self.name or "inception"
        return {"extractor": name, "weights_sha256": self.weights_sha256, "resize": self.resize}

    def load(self) -> None:
        """Builds the network, and fetches what must be fetched; calling it again does nothing."""

    def train(self, mode: bool = True) -> "Extractor":
        """Stays in evaluation mode, whatever is asked."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> float32 features [N, num_features].

        Raises:
            ValueError: images that are not uint8 [N, 1 or 3, H, W].
        """
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                f"images must be uint8 [N, 1 or 3, H, W], got {images.dtype} {list(images.shape)}; "
                "zoo.batch.to_bytes converts from [-1, 1]"
            )
        self.load()
        with torch.no_grad(), plain_float32(images.device.type):
            return self.features(images)

    def features(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def smooth(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1], not rounded to 8 bits -> float32 features [N, num_features].

        Raises:
            ValueError: for an extractor that takes 8 bits only.
        """
        raise ValueError(
            f"{type(self).__name__} takes images of 8 bits only: give an extractor of this project, metrics=mnist, "
            "cifar10 or colour_digits"
        )

    def classify(self, features: Tensor) -> Tensor:
        """Features [N, num_features] -> int64 classes [N]; only where there are `classes`."""
        raise NotImplementedError

    def logits_of(self, features: Tensor) -> Tensor:
        """Features [N, num_features] -> float32 logits [N, num_logits] of the classes that its network was trained on;
        only where `num_logits` is not 0."""
        raise NotImplementedError


class Downloaded(Extractor):
    """Base of the extractors whose weights are a file that must be downloaded once. Subclasses write `build`.

    Args:
        weights: a local copy of the file, or None: the one in torch.hub's checkpoints folder
            ($TORCH_HOME/hub/checkpoints), downloaded there if missing.

    Raises:
        MissingWeights: the local copy does not exist; from `load` or first use, the file can't be downloaded.
        ValueError: the file is not the right one, by its SHA-256.
    """

    FILE: str
    URL: str
    SHA256_PREFIX: str  # of the file, or all of it
    what: str  # "the standard Inception"
    where: str  # to find the file by hand: "torch-fidelity's v0.2.0 release on GitHub"
    needs_it = "The metric"

    def __init__(self, *, weights: str | None = None) -> None:
        super().__init__()
        self.network: Any = None
        self.path = Path(weights) if weights is not None else Path(torch.hub.get_dir(), "checkpoints", self.FILE)
        self.is_local_copy = weights is not None
        if self.is_local_copy:
            self._check()

    def load(self) -> None:
        """Downloads the weights if they are missing, checks them, and builds the network."""
        if self.network is not None:
            return
        if not self.is_local_copy and not self.path.exists():
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(self.URL, str(self.path), hash_prefix=self.SHA256_PREFIX)
            except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash a RuntimeError
                raise MissingWeights(
                    f"{self.needs_it} needs the weights of {self.what}, and they could not be downloaded ({error}). "
                    f"Fetch the file {self.FILE} from {self.where} where there is a network, and put it at "
                    f"{self.path}, or name it: metrics.extractor.weights=FILE. To train without: metrics=none"
                ) from error
        self._check()
        # Networks are initialised at random first: keep that out of the training's random state.
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            try:
                network = self.build()
            except Exception as error:  # whatever a damaged file makes it stumble over
                raise ValueError(f"{self.path} does not hold the weights of {self.what}: {error}") from error
        self.network = network.requires_grad_(False).eval()

    def build(self) -> nn.Module:
        """The network with the weights of `path`, whose hash has been checked. What fails in it is a damaged file."""
        raise NotImplementedError

    def _check(self) -> None:
        if not self.path.is_file():
            raise MissingWeights(f"no such file: {self.path} (metrics.extractor.weights)")
        self.weights_sha256 = sha256(self.path)
        if not self.weights_sha256.startswith(self.SHA256_PREFIX):
            raise ValueError(
                f"{self.path} is not {self.FILE} of {self.where}: its SHA-256 begins {self.weights_sha256[:8]}, not "
                f"{self.SHA256_PREFIX[:8]}. Remove it, or name the right file: metrics.extractor.weights=FILE"
            )


class Inception(Downloaded):
    """The Inception of the original FID (Heusel et al. 2017, arXiv:1706.08500), as torch-fidelity ported it: 91 MB.

    torchmetrics' `NoTrainInceptionV3`. Grey images are repeated to three channels. The ways of enlarging or reducing to
    its 299x299 pixels, on which tools differ, and FID with them (Parmar et al. 2022, arXiv:2104.11222):

        tensorflow  bilinear as in TensorFlow 1, without antialiasing: of the original, NVIDIA's codes, torch-fidelity
                    (whose features it equals exactly) and clean-fid's mode legacy_tensorflow
        antialias   bilinear with antialiasing: torchmetrics' default; 1 % from it in FID at 32 to 64 pixels
        clean       Pillow's bicubic on floats, antialiased, clipped to [0, 255]: clean-fid's default
        pytorch     bilinear as in PyTorch, without antialiasing, and values from 0 to 255 to [-1, 1] where the others
                    take (v - 128) / 128: pytorch-fid, and clean-fid's mode legacy_pytorch

    Args:
        weights: see `Downloaded`.
        resize: one of these.

    Raises:
        ValueError: a way of resizing that there is not.
    """

    URL = URL_INCEPTION_V3
    FILE = URL_INCEPTION_V3.rpartition("/")[2]  # weights-inception-2015-12-05-6726825d.pth
    SHA256_PREFIX = "6726825d"  # by torch.hub's convention the file's name ends in it
    what, where = "the standard Inception", "torch-fidelity's v0.2.0 release on GitHub"
    needs_it = "FID"

    name = ""
    num_features = 2048
    num_logits = 1008
    RESIZES: ClassVar = {  # what the protocol says of each way
        "tensorflow": "to 299x299, bilinear as in TensorFlow 1 (align_corners=False, antialias=False)",
        "antialias": "to 299x299, bilinear with antialias, as torchmetrics' default",
        "clean": "to 299x299, bicubic with antialias on floats, as Pillow's and clean-fid's default",
        "pytorch": "to 299x299, bilinear as in PyTorch (align_corners=False, antialias=False), as pytorch-fid",
    }

    def __init__(self, *, weights: str | None = None, resize: str = "tensorflow") -> None:
        if resize not in self.RESIZES:
            raise ValueError(f"metrics.extractor.resize={resize} is unknown: use {', '.join(self.RESIZES)}")
        super().__init__(weights=weights)
        self.mode, self.resize = resize, self.RESIZES[resize]

    def build(self) -> nn.Module:
        # Its own torch.load may unpickle code, so the file is read once before in the safe way.
        torchfile.load(self.path, archive=False)
        return NoTrainInceptionV3("inception-v3-compat", ["2048"], str(self.path), antialias=False)

    def features(self, images: Tensor) -> Tensor:
        if self.mode == "tensorflow" and images.dtype == torch.uint8:
            return self.network(images.expand(-1, 3, -1, -1))
        x = self.inputs(images)
        for stage in INCEPTION_STAGES:
            x = getattr(self.network, stage)(x)
        return x.flatten(1)

    def smooth(self, images: Tensor) -> Tensor:
        self.load()
        with torch.no_grad(), plain_float32(images.device.type):
            return self.features(images.float().add(1).mul(127.5))

    def inputs(self, images: Tensor) -> Tensor:
        """Images [N, 1 or 3, H, W] in [0, 255], uint8 or float, as the network sees them: float32 [N, 3, 299, 299]."""
        x, size = images.expand(-1, 3, -1, -1).float(), (299, 299)
        if self.mode == "tensorflow":
            x = interpolate_bilinear_2d_like_tensorflow1x(x, size=size, align_corners=False)
        elif self.mode == "clean":
            x = x if x.device.type == "mps" else x.double()  # in float32 weights differ from Pillow's by 1e-5
            x = F.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 255).float()
        else:
            x = F.interpolate(x, size, mode="bilinear", antialias=self.mode == "antialias")
        return x / 127.5 - 1 if self.mode == "pytorch" else (x - 128) / 128

    def with_resize(self, mode: str) -> "Inception":
        """The same network with another way of resizing."""
        self.load()
        other = copy.copy(self)
        other.mode, other.resize = mode, self.RESIZES[mode]
        return other

    def logits_of(self, features: Tensor) -> Tensor:
        """Without the bias: what the Inception Score has been read off since the network of 2015, "logits_unbiased"."""
        with torch.no_grad(), plain_float32(features.device.type):
            return features @ self.network.fc.weight.T.to(features.device)


INCEPTION_STAGES = (  # from pixels to the 2,048 features, by their names in torch-fidelity's network
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
)


class SmallClassifier(Extractor):
    """A small classifier that comes with this project, so that its metrics need no download.

    A subclass names its `FILE`, `Network` and `classes`, and writes `inputs`. The features are what BatchNorm puts out
    before the last activation: unlike activations after a ReLU none of them is dead, so their covariance has full rank.
    Weights are stored as float16; `scripts/train_classifier.py` trains them.
    """

    FILE: Path
    Network: type[SmallNetwork]
    num_features = 64
    num_logits = 10

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False):  # leave the caller's random state alone
            self.network = self.Network()
            self.network.load_state_dict(load_file(self.FILE))
        self.weights_sha256 = sha256(self.FILE)
        self.requires_grad_(False).eval()

    @staticmethod
    def inputs(images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] as the network sees them, float32 in [-1, 1]."""
        raise NotImplementedError

    def features(self, images: Tensor) -> Tensor:
        return self.network.trunk(self.inputs(images))

    def smooth(self, images: Tensor) -> Tensor:
        with torch.no_grad(), plain_float32(images.device.type):
            return self.features(images.float().add(1).mul(127.5))

    def activations(self, images: Tensor) -> list[Tensor]:
        """Images [N, C, H, W] in [0, 255], uint8 or float -> what each activation of the trunk puts out, and the
        features: differentiable, to compare two images by."""
        x, layers = self.inputs(images), []
        with plain_float32(x.device.type):
            for layer in self.network.trunk:
                x = layer(x)
                if isinstance(layer, nn.GELU | Residual):
                    layers.append(x)
        return [*layers, x]

    def classify(self, features: Tensor) -> Tensor:
        return self.logits_of(features).argmax(1)

    def logits(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> logits [N, number of classes]."""
        return self.logits_of(self(images))

    def log_odds(self, images: Tensor, index: int) -> Tensor:
        """log p / (1 - p) of a class, [N], float64: unlike p it tells 0.999 from 0.9999."""
        logits = self.logits(images).double()
        others = torch.cat([logits[:, :index], logits[:, index + 1 :]], 1)
        return logits[:, index] - others.logsumexp(1)

    def logits_of(self, features: Tensor) -> Tensor:
        with torch.no_grad(), plain_float32(features.device.type):
            return self.network.head(features.to(next(self.network.parameters()).device))


class DigitClassifier(SmallClassifier):
    """A small classifier of MNIST's digits whose 64 penultimate features make `fid_mnist`.

    Trained on MNIST's 60,000 training images; it reads 99.60 % of the 10,000 official test images right, as stored in
    float16.
    """

    FILE = weights_of("digit")
    Network = DigitNetwork

    name = "mnist"
    classes = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    resize = "Rec.601 luma; 28x28 padded with black to 32x32; other sizes to 32x32, bilinear with antialias"

    @staticmethod
    def inputs(images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> float32 [N, 1, 32, 32] in [-1, 1]."""
        x = images.float().div(127.5).sub(1)
        if x.shape[1] == 3:
            x = (x * x.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)  # Rec.601 luma
        return to_32(padded(x))


class ColourDigitClassifier(SmallClassifier):
    """A small classifier of MNIST's digits, plain ones and such in colour over photographs alike.

    One extractor for both sides of a translation: its 64 penultimate features make `fid_colour_digits`. Trained on
    MNIST's 60,000 training images, half of them painted as in zoo/data/embedded_pairs.py. As stored in float16 it reads
    99.65 % of the 10,000 test images right as they are, and 99.64 % painted over the parts of the photographs that are
    kept for tests.
    """

    FILE = weights_of("colour_digit")
    Network = ColourDigitNetwork

    name = "colour_digits"
    classes = DigitClassifier.classes
    resize = "grey repeated; 28x28 padded with black to 32x32; other sizes to 32x32, bilinear with antialias"

    @staticmethod
    def inputs(images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> float32 [N, 3, 32, 32] in [-1, 1]."""
        return to_32(padded(images.expand(-1, 3, -1, -1).float().div(127.5).sub(1)))


class CIFAR10Classifier(SmallClassifier):
    """A small classifier of CIFAR-10 whose 64 penultimate features make `fid_cifar10`.

    Trained on JPEG copies (quality 75) of the 50,000 training images; it reads 84.85 % of the 10,000 test images right,
    copied likewise, as stored in float16. Of 4,000 training images it reads 89.5 % as copies and 89.6 % as published.
    So reals are far from 100 % too: judge `accuracy_cifar10` beside the protocol's `accuracy_of_reals`.
    """

    FILE = weights_of("cifar10")
    Network = CIFAR10Network

    name = "cifar10"
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    resize = "grey repeated to 3 channels; other sizes to 32x32, bilinear with antialias"

    @staticmethod
    def inputs(images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> float32 [N, 3, 32, 32] in [-1, 1]."""
        return to_32(images.expand(-1, 3, -1, -1).float().div(127.5).sub(1))


def padded(x: Tensor) -> Tensor:
    """Images of 28x28 in [-1, 1] with black around to 32x32; others as they are."""
    return F.pad(x, (2, 2, 2, 2), value=-1.0) if x.shape[2:] == (28, 28) else x


def to_32(x: Tensor) -> Tensor:
    """float32 images [N, C, H, W] -> [N, C, 32, 32], as they are if they have that size."""
    return x if x.shape[2:] == (32, 32) else F.interpolate(x, size=(32, 32), mode="bilinear", antialias=True)


@contextmanager
def plain_float32(device_type: str) -> Iterator[None]:
    """Neither autocast nor TF32 inside, whatever is set outside."""
    backends = torch.backends
    switches = (backends.cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
