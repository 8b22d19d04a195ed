"""Statistics of features in an .npz, as pytorch-fid (`--save-stats`), clean-fid and TTUR's code write them.

They are the mean `mu` [F] and the covariance `sigma` [F, F], and say neither of how many images they are, nor by which
extractor and resize.

Imports neither torch nor Lightning.
"""

import struct
import zipfile
from pathlib import Path

import numpy as np

from zoo.data.archives import DAMAGED, check_array, reason
from zoo.data.files import MissingData

MOST = 2**14  # features: more than an extractor has
NAMES = ("mu", "sigma")


def statistics_in(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """mu [F] and sigma [F, F] of a file, float64; None where it is no .npz, has no such arrays, or has images beside.

    Raises:
        MissingData: they are damaged, or can't be a mean and a covariance.
    """
    if path.suffix.lower() != ".npz" or not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as file:
            infos = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
            if not infos.keys() >= {*NAMES}:
                return None
            heads = {}
            for name, info in infos.items():
                with file.open(info) as member:
                    heads[name] = check_array(member, size=info.file_size)
        if any(len(shape) in (3, 4) for shape, _ in heads.values()):
            return None
        (of_mean, *_), (of_covariance, *_) = (heads[name] for name in NAMES)
        if len(of_mean) != 1 or of_covariance != of_mean * 2 or not 1 <= of_mean[0] <= MOST:
            raise ValueError(
                f"mu {list(of_mean)} and sigma {list(of_covariance)} are no mean [F] and covariance [F, F]"
            )
        if wrong := [name for name in NAMES if heads[name][1].kind not in "iuf"]:
            raise ValueError(f"{wrong[0]} is an array of {heads[wrong[0]][1]}: a mean and a covariance hold numbers")
        with np.load(path, allow_pickle=False) as arrays:
            mean, covariance = (arrays[name].astype(np.float64) for name in NAMES)
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise ValueError("mu or sigma holds values that are no numbers")
        if not np.allclose(covariance, covariance.T, rtol=1e-3, atol=1e-6 * np.abs(covariance).max()):
            raise ValueError("sigma is not symmetric, so that it is no covariance")
        if (covariance.diagonal() < 0).any():
            raise ValueError("sigma has variances below 0, so that it is no covariance")
    except (*DAMAGED, MemoryError, struct.error) as error:
        raise MissingData(f"{path} can't be read: {reason(error)}.") from None
    return mean, (covariance + covariance.T) / 2
