"""Train a generative adversarial network.

python train.py                                    # DCGAN on 5,000 real MNIST digits
python train.py model=vanilla max_images=500_000   # another model, another budget
python train.py data=folder data.root=~/pictures metrics=none
python train.py --help                             # every group; --cfg job: every setting
"""

import hydra
from omegaconf import DictConfig

from zoo import config


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def train(cfg: DictConfig) -> None:
    cfg = config.checked(cfg)

    import lightning as L
    from hydra.utils import instantiate

    from zoo.checkpoint import WholeCheckpointIO

    L.seed_everything(cfg.seed, verbose=False)
    settings = config.plain(cfg)
    datamodule = instantiate(cfg.data, _convert_="all")
    model = instantiate(cfg.model, _convert_="all")
    model.config = settings
    callbacks = instantiate(cfg.callbacks)
    loggers = instantiate(cfg.logger)
    trainer = instantiate(
        cfg.trainer,
        logger=list(loggers.values()),
        callbacks=list(callbacks.values()),
        plugins=[WholeCheckpointIO()],
    )
    for logger in trainer.loggers:
        logger.log_hyperparams(settings)
    trainer.fit(model, datamodule)


if __name__ == "__main__":
    with config.readable_errors():
        train()
