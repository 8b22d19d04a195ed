"""Train a generative adversarial network.

python train.py                                    # DCGAN on 5,000 real MNIST digits
python train.py model=vanilla max_images=500_000   # another model, another budget
python train.py data=folder data.root=~/pictures metrics=none
python train.py --help                             # every group; --cfg job: every setting
"""

import os
import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Ctrl-C while modules are loaded; afterwards `readable_errors` says the same.
    text = b"train.py: SIGINT, interrupted before the first image: nothing was saved\n"
    signal.signal(signal.SIGINT, lambda *_: (os.write(2, text), os._exit(130)))

import hydra
from omegaconf import DictConfig

from zoo.run import config
from zoo.run.command import command_line, readable_errors
from zoo.run.sweep import run_job
from zoo.run.training import build, run

__all__ = ["build", "main", "run"]

config.register_tables()


@hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Compose, check, run; what comes of it is a sweeper's objective."""
    return run_job(cfg)


if __name__ == "__main__":
    with readable_errors():
        sys.argv[1:] = command_line(sys.argv[1:])
        main()
