"""Training from Python: what train.py does, in a notebook or another program."""

from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from zoo.result import Result
from zoo.run import config
from zoo.run.command import command_line, sentence
from zoo.run.training import alone_in, run


def train(*settings: str) -> Result:
    """Train a model, as `python train.py SETTINGS` does: the same settings, checks and folder, below outputs/.

        result = zoo.train("model=dcgan", "max_images=20_000", "logger=csv")
        images = zoo.load(result.folder).sample(16)

    A sweep is a loop. Several processes need a program of their own: `python train.py trainer=ddp`.

    Args:
        settings: as on the command line, `resume=RUN` among them.

    Raises:
        ValueError: with the sentence that the command says, where it ends with status 2.
        FloatingPointError: if training diverges.
        KeyboardInterrupt: by Ctrl-C, after a checkpoint has been saved.
    """
    folders: list[str] = []

    def task(cfg: DictConfig) -> None:
        folders.append(cfg.run_dir)
        cfg = config.checked(cfg)
        with alone_in(cfg.run_dir):
            run(cfg)

    try:
        if wrong := [s for s in settings if not isinstance(s, str) or s.startswith("-")]:
            raise ValueError(f"zoo.train takes settings, such as 'max_images=1000', and not {wrong[0]!r}")
        config.register_tables()
        arguments = command_line(list(settings))
        with hydra.initialize_config_dir(str(config.CONF), version_base="1.3", job_name="train"):
            GlobalHydra.instance().hydra.run("train", task, arguments, with_log_configuration=False)  # type: ignore[union-attr]
    except SystemExit as left:  # saved and left: after max_time with 0, else by a signal, as a shell has it
        if left.code == 130:
            raise KeyboardInterrupt from None
        if left.code:
            raise
    except FloatingPointError:
        raise
    except Exception as error:
        words = sentence(error, settings)
        if words is None:
            raise
        raise ValueError(words) from None
    folder = Path(folders[0])
    return Result.read(folder) or Result(folder=folder, state="unknown", images=0)  # ~callbacks.results
