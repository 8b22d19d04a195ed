"""Every setting that is accepted acts: what would not, or makes no sense, is refused with a sentence and the remedy."""

from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from common import CONF, MODELS, compose
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import open_dict

from zoo.machine import memory
from zoo.run.callbacks.interrupt import parse_time
from zoo.run.config import checked, nearest, register_tables
from zoo.run.training import build, run

FREE = ["run_dir=x", "logger=csv", "trainer=cpu"]


def refusal(*overrides: str) -> str:
    """What a command line is answered with before anything is built; "" if it is accepted."""
    register_tables()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", [*FREE, *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        cfg.callbacks.report.overrides = []
        try:
            checked(cfg)
        except ValueError as error:
            return str(error)
    return ""


OF_LIGHTNING = {
    "max_epochs=5": "max_images=",
    "min_epochs=5": "max_images=",
    "max_steps=5": "max_images=",
    "min_steps=5": "max_images=",
    "max_time=00:01:00:00": "max_time=",
    "fast_dev_run=true": "max_images=64",
    "limit_train_batches=10": "max_images=",
    "overfit_batches=1": "max_images=",
    "limit_val_batches=3": "callbacks.evaluate.every=",
    "val_check_interval=10": "callbacks.evaluate.every=",
    "check_val_every_n_epoch=2": "callbacks.evaluate.every=",
    "num_sanity_val_steps=2": "callbacks.evaluate.every=",
    "log_every_n_steps=5": "log_every=",
    "enable_checkpointing=false": "callbacks.checkpoints",
    "enable_progress_bar=false": "~callbacks.progress",
    "default_root_dir=/tmp": "hydra.run.dir=",
    "barebones=true": "would take away",
}


@pytest.mark.parametrize("argument", OF_LIGHTNING)
def test_what_lightning_has_and_a_game_does_not_names_what_serves(argument: str) -> None:
    said = refusal(f"+trainer.{argument}")
    assert said.startswith(f"trainer.{argument.split('=')[0]}=")
    assert "does not fit players that take turns" in said
    assert OF_LIGHTNING[argument] in said
    assert OF_LIGHTNING[argument] in nearest(f"trainer.{argument.split('=')[0]}", [])  # typed without the plus


@pytest.mark.parametrize("argument", ["+trainer.detect_anomaly=true", "+trainer.profiler=simple"])
def test_what_acts_is_taken(argument: str) -> None:
    assert refusal(argument) == ""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["16-mixed", "16", "16-true", "bf16-true", "64-true", "64", "half"])
def test_precisions(precision: str) -> None:
    said = refusal(f"trainer.precision={precision}")
    assert said.startswith(f"trainer.precision={precision} does not fit")
    assert said.endswith("give 32-true or bf16-mixed")
    for fine in ("32-true", "32", "bf16-mixed", "bf16"):
        assert refusal(f"trainer.precision={fine}") == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("scale=4", "scale=4 must be one of small, medium, paper: the widths of the networks; the magnification of "),
        ("scale=huge", "scale=huge must be one of small, medium, paper"),
        ("callbacks.progress.max_images=-1", "callbacks.progress.max_images=-1 must be 1 or more"),
        ("logger=wandb logger.wandb.init_timeout=-1", "logger.wandb.init_timeout=-1 must be 1 or more"),
        ("seed=-1", "seed=-1 must not be negative"),
        (f"seed={2**32}", f"seed={2**32} must not be negative, and less than 2**32"),
        ("max_images=0", "max_images=0 must be 1 or more"),
        ("max_images=1e400", "max_images=inf must be a finite number"),
        (f"max_images={10**30}", f"max_images={10**30} is too large a number"),
        ("log_every=0", "log_every=0 must be 1 or more"),
        ("log_every=-1", "log_every=-1 must be 1 or more"),
        ("++log_every=-1", "log_every=-1 must be 1 or more"),
        ("log_every=nan", "log_every=nan must be a finite number"),
        ("compile=3", "compile=3: expected true or false or default or reduce-overhead"),
        ("compile=fast", "compile=fast: expected true or false or default or reduce-overhead"),
        ("cuda_graph=2", "cuda_graph=2: expected true or false"),
        (
            "compile=default cuda_graph=true",
            "compile=default and cuda_graph=true are two ways to the same end",
        ),
        ("divergence_retries=-1", "divergence_retries=-1 must be from 0 to 100"),
        ("trainer.devices=0", "trainer.devices=0 must be 1 or more"),
        ("trainer.devices=2", "trainer.devices=2 are several processes: use trainer=ddp, or trainer=ddp_cpu"),
        ("trainer=ddp_cpu trainer.devices=1000000", "trainer.devices=1000000: data.batch_size=16 has no image for"),
        ("trainer.accelerator=gpus", "trainer.accelerator=gpus must be one of auto, cpu, gpu, cuda, mps"),
        ("model.clip_norm=-1", "model.clip_norm=-1 must be positive"),
        ("model.clip_norm=0", "model.clip_norm=0 must be positive"),
        ("model.clip_norm=nan", "model.clip_norm=nan must be a finite number"),
        ("model.lr.D=nan", "model.lr.D=nan must be a finite number"),
        ("model.lr.G=-1", "model.lr.G=-1 must not be negative; 0 keeps the player as it is"),
        ("model.lr=0.1", "model.lr=0.1: expected settings"),
        ("model.betas=[0.5]", "model.betas=[0.5] must be two numbers"),
        ("model.betas=[0.5,x]", "model.betas[1]=x: expected a number"),
        ("model.betas=[nan,0.9]", "model.betas.0=nan must be a finite number"),
        ("model.ema_half_life=inf", "model.ema_half_life=inf must be a finite number"),
        ("model.n_critic=0", "model.n_critic=0 must be 1 or more"),
        ("model.n_critic=10000000", "model.n_critic=10000000 leaves no turn for G in max_images=150000"),
        ("model.skip_d_above=1", "model.skip_d_above=1 must be an accuracy between 0 and 1"),
        ("model.decay_start=third", "model.decay_start=third: expected a whole number or half or null"),
        ("model.decay_end=100", "model.decay_end=100 has no effect without model.decay_start="),
        ("model.decay_start=5 model.decay_end=100", "model.decay_end=100 lies before max_images=150000"),
        ("model.latent_dim=0", "model.latent_dim=0 must be 1 or more"),
        ("model.width=0", "model.width=0 must be 1 or more"),
        ("model.regularizer.r1=inf", "model.regularizer.r1=inf must be a finite number"),
        ("model=pix2pix model.blocks=1000000000", "model.blocks=1000000000 must be from 0 to 1000"),
        ("data.image_size=1000000000", "model.image_size=1000000000 must be from 1 to 8192 pixels"),
        ("data.image_size=[32,0]", "model.image_size[1]=0 must be from 1 to 8192 pixels"),
        ("model=vanilla model.hidden=[]", "model.hidden=[] must be one width or more"),
        ("model=vanilla model.hidden=[64,0]", "model.hidden[1]=0 must be 1 or more"),
        ("model=srgan model.lr_steps=[20,10]", "model.lr_steps=[20, 10] must rise"),
        ("model=srgan model.lr_steps=[0.5]", "model.lr_steps[0]=0.5: expected a whole number"),
        ("model=srgan model.weights.content=-1", "model.weights.content=-1 must not be negative"),
        ("model=stylegan_lite model.truncation=nan", "model.truncation=nan must be a finite number"),
        ("model=stylegan_lite model.stddev_group=0", "model.stddev_group=0 must be 1 or more"),
        ("model=stylegan_lite model.phase_images=0", "model.phase_images=0 must be 1 or more"),
        ("data.num_workers=100000", "data.num_workers=100000 must be from 0 to 256, or auto"),
        ("data.num_workers=some", "data.num_workers=some: expected a whole number or auto"),
        ("data=folder data.memory_limit_mb=-1", "data.memory_limit_mb=-1 must not be negative"),
        ("data=folder data.background=3", "data.background=3 must be a name"),
        ("metrics.num_fake=0", "metrics.num_fake=0 must be from 1 to 10,000,000 images"),
        ("metrics.num_fake=1000000000", "metrics.num_fake=1000000000 must be from 1 to 10,000,000 images"),
        ("callbacks.samples.count=0", "callbacks.samples.count=0 must be from 1 to 4096 pictures"),
        ("callbacks.health.count=-1", "callbacks.health.count=-1 must be 1 or more"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_before_anything_is_built(arguments: str, sentence: str) -> None:
    assert refusal(*arguments.split()).startswith(sentence)


def built(*overrides: str) -> str:
    """What the constructors say; "" if nothing."""
    cfg = compose("data=digits", *FREE, "callbacks.report.overrides=[]", *overrides)
    try:
        build(cfg)[1].configure_optimizers()
    except Exception as error:
        return str(error.__cause__ or error)
    return ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("model.decay_start=150000", "model.decay_start=150000 must lie before model.decay_end=150000"),
        ("model.width=10000000000", "model.width=10000000000 is more than model.max_width=1024"),
        ("model.width=100000 model.max_width=1000000", "these networks exceed this machine's memory: "),
        (f"model.width={2**40} model.max_width={2**40}", "these networks exceed this machine's memory: lower widths"),
        ("model=stylegan_lite model.w_dim=1000000", "these networks exceed this machine's memory: "),
        ("augment=ada model.augment.target=high", "model.augment.target=high: expected a number or null"),
        ("augment=ada model.augment.cutout=2", "model.augment.cutout=2 must be in [0, 1]"),
        ("regularizer=r1 model.regularizer.every=0", "model.regularizer.every=0 must be 1 or more"),
        ("model=pix2pix data=masked_digits model.blocks=3", "model.blocks=3 has no effect with model.generator=unet"),
        (
            "model=srgan data=photos model.vgg_weights=x.pth",
            "model.vgg_weights=x.pth has no effect with model.content=",
        ),
        # Objectives that need a penalty.
        ("loss=wasserstein", "loss=wasserstein has no bound unless D is held: add regularizer=gradient_penalty"),
        ("loss=wasserstein regularizer=r1", "loss=wasserstein has no bound unless D is held"),
        ("loss=wasserstein model.regularizer=null", "loss=wasserstein has no bound unless D is held"),
        ("loss=wasserstein model=cyclegan data=colour_digits", "loss=wasserstein has no bound unless D is held"),
        ("loss=wasserstein model.discriminator_norm=spectral", ""),
        ("loss=wasserstein model=vanilla regularizer=gradient_penalty", ""),
        ("loss=relativistic_pairing", "loss=relativistic_pairing does not converge without r1 and r2: add reg"),
        (
            "loss=relativistic_pairing regularizer=r1",
            "loss=relativistic_pairing does not converge without r1 and r2: add reg",
        ),
        ("loss=relativistic_pairing regularizer=r1_r2", ""),
        ("loss=relativistic_pairing model=cgan model.condition=projection", ""),
        ("loss=relativistic_pairing model.regularizer=null", ""),  # asked for
        ("loss=hinge", ""),
    ],
)
def test_what_a_constructor_finds(arguments: str, sentence: str) -> None:
    said = built(*arguments.split())
    assert said.startswith(sentence)
    assert bool(said) == bool(sentence)


def test_the_memory_that_a_container_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2**28 < memory() < 2**50
    small = ["model.width=4", "data.image_size=16"]
    assert built(*small) == ""
    monkeypatch.setattr("zoo.run.training.memory", lambda: 1_000)
    assert built(*small).startswith("these networks exceed this machine's memory")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["model=vanilla", "data=digits", "data.batch_size=1"], "one image a batch has no BatchNorm in dense layers"),
        (["trainer.devices=[0,1]"], "trainer: `devices` selected with `CPUAccelerator`"),
    ],
)
def test_what_the_first_batch_or_the_trainer_shows(overrides: list[str], sentence: str, tmp_path: object) -> None:
    quiet = ["metrics=none", "logger=none", "trainer=cpu", f"run_dir={tmp_path}", "callbacks.report.overrides=[]"]
    with pytest.raises(ValueError, match=sentence):
        run(compose(*quiet, "~callbacks.samples", "~callbacks.health", *overrides))


def test_an_objective_without_its_penalty_is_refused_before_any_logger_has_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    monkeypatch.setattr("zoo.run.loggers.CSV.log_hyperparams", lambda *given: begun.append(given))
    small = ["data=digits", "data.image_size=16", "model.width=4", "data.batch_size=16", "metrics=none", "logger=csv"]
    cfg = compose(*small, "loss=wasserstein", f"run_dir={tmp_path}", "callbacks.report.overrides=[]")
    with pytest.raises(ValueError, match="loss=wasserstein has no bound"):
        run(cfg)
    assert not begun


def test_no_time_is_no_limit() -> None:
    assert parse_time("00:00:01") == 1
    with pytest.raises(ValueError, match="max_time=00:00:00 leaves no time to train"):
        parse_time("00:00:00")


@pytest.mark.parametrize(
    "overrides", [[f"model={model}"] for model in MODELS] + [["model.discriminator_norm=spectral"]]
)
def test_each_variant_is_built_as_if_it_had_not_been_looked_at_first(overrides: list[str]) -> None:
    cfg = compose(*FREE, "callbacks.report.overrides=[]", *overrides)
    torch.manual_seed(1)
    weights = build(cfg)[1].state_dict()
    torch.manual_seed(1)
    of_data = {"classes": list("0123456789")} if "classes" in cfg.model else {}
    alone = instantiate(cfg.model, **of_data, _convert_="all").state_dict()
    assert all(torch.equal(weights[name], alone[name]) for name in alone if isinstance(alone[name], torch.Tensor))
