"""Words that people bring from elsewhere for what is called otherwise here, and what they are to write instead."""

from collections.abc import Callable

from zoo.text import trains


def _same(*settings: str) -> Callable[[str], str]:
    """The value belongs into these settings as it is."""
    return lambda value: f"did you mean {' '.join(f'{setting}={value}' for setting in settings)}?"


def _images(unit: str, size: str) -> Callable[[str], str]:
    """The value is a budget in another unit."""
    return lambda value: f"the budget is max_images=, in images: {value or 'n'} {unit} are {value or 'n'} x {size}"


def _thousands(value: str) -> str:
    number = f"{float(value) * 1000:.0f}" if value.replace(".", "", 1).isdecimal() else ""
    return f"did you mean max_images={number}?"


def _gpus(value: str) -> str:
    fits = {"0": "trainer=cpu", "1": "trainer=gpu"}.get(value, f"trainer=ddp trainer.devices={value}")
    return f"did you mean {fits}?"


def _mixed(value: str) -> str:
    precision = "32-true" if value.lower() in ("false", "0", "no", "32") else "bf16-mixed"
    return f"did you mean trainer.precision={precision}?"


def _wandb(value: str) -> str:
    return f"did you mean logger={'csv' if value.lower() in ('false', '0', 'no') else 'wandb'}?"


def _objective(value: str) -> str:
    return meant_choice("loss", value) or f"did you mean loss={value}?"


KEPT = "best.ckpt and last.ckpt are kept; callbacks.checkpoints.keep_every= keeps more, every so many images"
_ROWS: list[tuple[str, Callable[[str], str]]] = [
    (
        "epochs epoch max_epochs n_epochs num_epochs nepoch nepochs niter total_epochs train_epochs",
        _images("epochs", "the number of training images"),
    ),
    (
        "steps max_steps n_steps num_steps total_steps train_steps iterations iters iter n_iter n_iters num_iters "
        "max_iter max_iters num_iterations max_iterations total_iters batches",
        _images("steps", "data.batch_size="),
    ),
    ("kimg total_kimg", _thousands),
    ("images num_images n_images nimg total_images budget", _same("max_images")),
    ("batch_size batchsize batch bs mini_batch minibatch_size train_batch_size", _same("data.batch_size")),
    (
        "lr learning_rate base_lr learningrate rate glr dlr lr_g lr_d g_lr d_lr lrg lrd",
        _same("model.lr.D", "model.lr.G"),
    ),
    ("decay_epochs niter_decay n_epochs_decay lr_decay", lambda value: "did you mean model.decay_start=half?"),
    ("beta1 b1 adam_beta1 beta_1", lambda value: f"did you mean model.betas=[{value},0.999]?"),
    ("beta2 b2 adam_beta2 beta_2", lambda value: f"did you mean model.betas=[0.5,{value}]?"),
    (
        "resolution res img_size image_size imagesize imgsize size crop_size fine_size input_size img_resolution",
        _same("data.image_size"),
    ),
    ("channels img_channels num_channels nc input_nc in_channels", _same("data.channels")),
    (
        "gpus gpu num_gpus n_gpus ngpu gpu_ids gpu_id nproc_per_node",
        _gpus,
    ),
    ("devices device_ids num_devices", _same("trainer.devices")),
    ("nodes num_nodes nnodes", lambda value: f"did you mean trainer=ddp trainer.num_nodes={value}?"),
    ("accelerator device cuda cpu", lambda value: "did you mean trainer=auto, gpu or cpu?"),
    ("strategy ddp distributed", lambda value: "did you mean trainer=ddp?"),
    ("workers num_workers n_workers nworkers n_cpu num_threads dataloader_workers", _same("data.num_workers")),
    ("latent_size nz z_dim zdim latent_dim noise_dim dim_z latent z_size", _same("model.latent_dim")),
    ("ngf ndf nf ch base_channels hidden_dim fmaps features", _same("model.width")),
    ("dataset data_set dataset_name dataset_mode datasets", _same("data")),
    (
        "dataroot data_root data_dir data_path datadir dataset_path dataset_dir root path image_folder train_dir",
        lambda value: f"did you mean data=folder data.root={value}?",
    ),
    ("flip mirror hflip horizontal_flip random_flip", _same("data.flip")),
    (
        "output out outdir output_dir out_dir output_path save_dir savedir save_path results_dir result_dir logdir "
        "log_dir checkpoint_dir checkpoints_dir folder workdir work_dir exp_dir",
        _same("hydra.run.dir"),
    ),
    (
        "name run_name exp_name experiment_name",
        lambda value: f"did you mean hydra.run.dir=outputs/{value}, or logger.wandb.name={value}?",
    ),
    (
        "checkpoint checkpoints ckpt ckpt_path resume_from resume_from_checkpoint load continue_train "
        "resume_path snapshot weights load_from",
        _same("resume"),
    ),
    (
        "pretrained finetune finetune_from fine_tune transfer transfer_from init_from start_from "
        "pretrained_weights initial_weights",
        _same("start"),
    ),
    ("freezed freeze_discriminator freeze_layers n_freeze", _same("model.freeze_d")),
    ("amp fp16 bf16 half mixed_precision use_amp mixed", _mixed),
    ("precision dtype", _same("trainer.precision")),
    (
        "ema ema_decay ema_beta ema_kimg averaging",
        lambda value: "did you mean model.ema_half_life=, in images, or null for none?",
    ),
    ("wandb use_wandb wandb_log", _wandb),
    ("project wandb_project project_name", _same("logger.wandb.project")),
    ("tensorboard tb use_tensorboard", lambda value: "did you mean logger=tensorboard?"),
    ("log logger_type logging", _same("logger")),
    ("gan_mode gan_type gan_loss adv_loss loss_type criterion objective", _objective),
    ("arch architecture network net gan model_name model_type variant", _same("model")),
    ("augmentation aug augpipe diffaug diffaugment ada", lambda value: "did you mean augment=ada or diffaugment?"),
    ("gamma r1 r1_gamma r1_weight", lambda value: f"did you mean regularizer=r1 model.regularizer.r1={value}?"),
    (
        "gp lambda_gp gp_weight gradient_penalty",
        lambda value: f"did you mean regularizer=gradient_penalty model.regularizer.gradient_penalty={value}?",
    ),
    ("d_steps n_dis d_iters disc_iters critic_iters n_critic ncritic n_disc", _same("model.n_critic")),
    (
        "clip clip_norm grad_clip gradient_clip gradient_clip_val max_grad_norm clip_grad_norm",
        _same("model.clip_norm"),
    ),
    ("random_seed manual_seed manualseed rng_seed", _same("seed")),
    ("cond conditional num_classes n_classes class_cond", lambda value: "did you mean model=cgan?"),
    ("upscale upscale_factor sr_factor", _same("data.scale")),
    (
        "eval_every eval_interval eval_freq val_check_interval fid_every",
        lambda value: f"did you mean callbacks.evaluate.every={value}, in images?",
    ),
    (
        "save_every save_freq save_interval save_epoch_freq snap checkpoint_every",
        lambda value: f"did you mean callbacks.checkpoints.every={value}, in images?",
    ),
    (
        "sample_every sample_interval sample_freq display_freq",
        lambda value: f"did you mean callbacks.samples.every={value}, in images?",
    ),
    (
        "log_interval log_freq print_freq print_every log_steps",
        lambda value: f"did you mean log_every={value}, in images?",
    ),
    ("metric fid use_fid", lambda value: "did you mean metrics=inception, mnist or none?"),
    ("time time_limit max_hours timeout walltime", lambda value: "did you mean max_time=HH:MM:SS?"),
    ("torch_compile use_compile", _same("compile")),
    (
        "early_stopping earlystopping early_stop early_stopping_patience",
        lambda value: "did you mean callbacks.evaluate.patience=, in evaluations?",
    ),
    ("save_top_k keep keep_checkpoints max_checkpoints", lambda value: KEPT),
    ("monitor", lambda value: "the metrics say which value chooses: metrics="),
    ("optimizer optim opt", lambda value: "it is Adam: model.lr.D=, model.lr.G= and model.betas=[0.5,0.999]"),
    ("sweep multirun grid", lambda value: f"-m makes a sweep: {trains()} -m seed=1,2,3"),
    ("config cfg yaml", lambda value: "settings are written KEY=VALUE, and experiment= names a recipe"),
]
CHOICES: dict[str, list[tuple[str, str]]] = {  # of a group: what other programs call something that is here
    "loss": [
        ("wgan wgangp wgan_gp wasserstein_gan", "loss=wasserstein regularizer=gradient_penalty"),
        ("lsgan ls mse l2", "loss=least_squares"),
        ("bce vanilla gan ns nsgan logistic softplus", "loss=non_saturating"),
        ("rpgan rgan ragan relativistic", "loss=relativistic_pairing regularizer=r1_r2"),
    ],
    "model": [
        ("gan mlp", "model=vanilla"),
        ("wgan wgangp wgan_gp", "model=dcgan loss=wasserstein regularizer=gradient_penalty"),
        ("lsgan", "model=dcgan loss=least_squares"),
        ("conditional conditional_gan cond_gan acgan cdcgan", "model=cgan"),
        ("lightweight_gan lightweightgan few_shot fast_gan", "model=fastgan"),
        ("stylegan stylegan2 stylegan2_ada stylegan_ada stylegan3", "model=stylegan_lite"),
    ],
    "data": [
        ("image_folder imagefolder images custom ffhq", "data=folder data.root=FOLDER"),
        ("imagenet labelled labeled", "data=labelled_folder data.root=FOLDER"),
        ("horse2zebra unaligned unpaired", "data=unpaired_folder data.root=FOLDER"),
        ("facades edges2shoes maps aligned paired", "data=paired_folder data.root=FOLDER"),
        ("colorize colourise grayscale inpainting denoising", "data=corrupted_folder data.root=FOLDER"),
        ("div2k sr super_resolution", "data=super_resolution_folder data.root=FOLDER"),
    ],
    "metrics": [
        ("fid kid is fid50k fid50k_full", "metrics=inception"),
        ("psnr ssim", "metrics=super_resolution"),
        ("null false off", "metrics=none"),
    ],
    "logger": [("tb", "logger=tensorboard"), ("null false off disabled", "logger=none")],
    "trainer": [("cuda single_gpu", "trainer=gpu"), ("dp multi_gpu distributed", "trainer=ddp")],
}
MEANT = {word: instead for words, instead in _ROWS for word in words.split()}


def meant(name: str, value: object = "") -> str | None:
    """What to write instead of a setting that there is not, `model.nz=64` or `batch-size=8`; None: no idea.

    Args:
        name: as it was typed, without `=`.
        value: what it was to be.
    """
    instead = MEANT.get(name.rpartition(".")[2].lower().replace("-", "_"))
    return instead("" if value is None else str(value)) if instead else None


def meant_choice(group: str, name: str) -> str | None:
    """What to write instead of a choice that a group does not have, `loss=wgan-gp`; None: no idea."""
    word = name.lower().replace("-", "_")
    instead = next((instead for words, instead in CHOICES.get(group, []) if word in words.split()), None)
    return f"did you mean {instead}?" if instead else None
