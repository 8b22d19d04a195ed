"""The command line: names, types, groups. In this process where that suffices, as a user types it where not."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import hydra
import pytest
import torch
from common import CONF, ROOT, compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import train
from train import run
from zoo.run.command import PLUGINS, command_line, readable_errors, sentence
from zoo.run.config import changes, check, choices, groups, nearest, plain
from zoo.run.grammar import overrides
from zoo.run.training import alone_in


def line(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "train.py", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def typed(*arguments: str) -> None:
    """What `python train.py` does, in this process, until it leaves."""
    with pytest.MonkeyPatch.context() as patch, readable_errors():
        patch.setattr(sys, "argv", ["train.py", *command_line(list(arguments))])
        train.main()


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("model.latentdim=3", "there is no setting 'model.latentdim'; did you mean model.latent_dim?"),
        ("max_image=3", "there is no setting 'max_image'; did you mean max_images?"),
        ("width=3", "there is no setting 'width'; did you mean model.width?"),
        ("modl=dcgan", "there is no setting 'modl'; did you mean model?"),
        ("model=dcgann", "there is no model=dcgann; did you mean dcgan?"),
        ("loss=hingee", "there is no loss=hingee; did you mean hinge?"),
        ("regularizer=r3", "there is no regularizer=r3; the names are gradient_penalty, none, r1, r1_lazy, r1_r2, r2"),
        ("experiment=dcgan_mnis", "there is no experiment=dcgan_mnis; did you mean dcgan_mnist?"),
        ("model=cyclegan augment=ada", "augment=ada does not fit model=cyclegan, which takes none"),
        ("model=srgan regularizer=r1", "regularizer=r1 does not fit model=srgan, which takes none"),
        (
            "model=pix2pix model.regularizer.r1=1",
            "there is no setting 'model.regularizer.r1': model.regularizer is null with model=pix2pix, which takes no",
        ),
        ("max_images=abc", "max_images=abc: expected a whole number, such as max_images=150000"),
        ("model.lr.D=fast", "model.lr.D=fast: expected a number, such as model.lr.D=0.0002"),
        ("data.flip=3", "data.flip=3: expected true or false, such as data.flip=False"),
        ("model.width=32.5", "model.width=32.5: expected a whole number"),
        ("data.image_size=nan", "data.image_size=nan must be a finite number"),
        ("model.image_size=64", "model.image_size=64 is not data.image_size=32: set data.image_size"),
        ("model=srgan model.patch_size=16", "model.patch_size=16 is not data.patch_size="),
        ("model=srgan model.scale=2", "model.scale=2 is not data.scale=4: set data.scale"),
        ("+model.widht=3", "there is no setting 'model.widht'; did you mean model.width?"),
        ("+trainer.accumulate_grad_batches=4", "trainer.accumulate_grad_batches=4 does not fit players that take"),
        ("+trainer.gradient_clip_val=1", "trainer.gradient_clip_val=1 does not fit players that take turns: each"),
        ("divergence_retries=1 trainer=ddp_cpu", "divergence_retries works on one process"),
        ("+trainer.callbacks=[]", "trainer.callbacks=[] does not fit players that take turns: this project gives"),
        ("epochs=5", "there is no setting 'epochs'; the budget is max_images=, in images: 5 epochs are 5 x the number"),
        ("+epochs=5", "there is no setting 'epochs'; the budget is max_images="),
        ("++epochs=5", "there is no setting 'epochs'; the budget is max_images="),
        ("--epochs=5", "there is no setting 'epochs'; the budget is max_images="),
        ("+foo.bar=3", "there is no setting 'foo'"),
        ("model=cyclegan nz=100", "there is no setting 'nz'; it would be model.latent_dim, which these groups"),
        ("model=cyclegan model.latent_dim=64", "there is no setting 'model.latent_dim' with model=cyclegan; it is one"),
        ("model=cyclegan model.augment=ada", "augment=ada does not fit model=cyclegan, which takes none"),
        ("model=cyclegan +model.augment.flip=true", "augment={'flip': True} does not fit model=cyclegan, which takes"),
        ("model.augment=ada", "model.augment=ada: expected settings; did you mean augment=ada?"),
        ("model.lr=1e-4", "model.lr=0.0001: expected settings; did you mean model.lr.D= model.lr.G=?"),
        ("model.lr.d=1", "there is no setting 'model.lr.d'; did you mean model.lr.D?"),
        ("++model.width=abc", "model.width=abc: expected a whole number"),
        ("+model.width=3", "model.width is there: leave out its +"),
        ("+model=dcgan", "model is there: leave out its +"),
        ("+loss=hinge", "loss is there: leave out its +"),
        ("model=cyclegan +augment=ada", "augment is there: leave out its +"),
        ("++model=dcgan", "write model=dcgan, without its +"),
        ("model@x=dcgan", "there is no setting 'model@x'; leave out the @"),
        ("~foo", "there is no setting 'foo'"),
        ("~model", "~model._target_ takes away what a run needs"),
        ("~model.width", "~model.width takes away what a run needs"),
        ("~logger", "~logger takes away what a run needs"),
        ("+callbacks.mine=3", "callbacks.mine=3 builds nothing: give its class, +callbacks.mine._target_="),
        ("+callbacks.mine.every=3", "callbacks.mine={'every': 3} builds nothing"),
        ("seed=1,2", "seed=1,2 are several values: -m tries one after the other; seed=[1,2] is a list, "),
        ("data=mnist5k,digits", "data=mnist5k,digits are several values: -m tries one after the other"),
        ("seed=choice(1,2)", "seed=choice(1,2) are several values, which need -m"),
        ("max_images=${foo}", "Interpolation key 'foo' not found"),
        ("max_images=${max_images}", "Recursive interpolation detected"),
        ("hydra.mode=foo", "hydra.mode=foo does not fit: Invalid value 'foo', expected one of"),
        ("hydra.searchpath=3", "hydra.searchpath must be a list of strings. Got: 3"),
        ("hydra/launcher=slrm", "there is no hydra/launcher=slrm; did you mean slurm?"),
        ("hydra/sweeper=optuna", "hydra/sweeper=optuna is in a package of its own: pip install hydra-optuna-sweeper"),
        (
            "hydra/launcher=joblib",
            "hydra/launcher=joblib is in a package of its own: pip install hydra-joblib-launcher",
        ),
        ("-m hydra/sweeper=optuna_rates", "hydra/sweeper=optuna is in a package of its own: pip install"),
        ("-m model.lr.D=interval(1e-5,1e-3)", "an interval needs a sweeper that searches, hydra/sweeper=optuna"),
        ("-m model.lr.D=glob(*)", "model.lr.D=glob(*): glob() chooses from a group, as model=glob(*) does"),
        ("-m hydra.sweeper.params={seed:1}", "hydra.sweeper.params can't be set like this"),
        (
            "hydra.sweeper.n_trials=3",
            "there is no setting 'hydra.sweeper.n_trials'; what it may be depends on hydra/sw",
        ),
        ("hydra=nothing", "hydra= is no setting: Hydra's own are hydra.NAME="),
        ("--cfg foo", "argument --cfg/-c: invalid choice: 'foo'"),
        ("--multirun=3", "argument --multirun/-m: ignored explicit argument '3'"),
        ("callbacks=none", "callbacks=none: expected settings"),
        ("callbacks=null", "callbacks=None: expected settings"),
        ("callbacks.interrupt._target_=[a,b]", "callbacks.interrupt._target_=['a', 'b'] names no class"),
        ("callbacks.interrupt._target_={a:1}", "callbacks.interrupt._target_={'a': 1} names no class"),
        ("callbacks.interrupt._target_=3", "callbacks.interrupt._target_=3 names no class"),
        ("callbacks.interrupt._target_=zoo.run.X", "callbacks.interrupt._target_=zoo.run.X names no class"),
        ("model._target_=[a]", "model._target_=['a'] names no class"),
        ("data._target_=nothing.X", "data._target_=nothing.X names no class"),
        (
            "callbacks.evaluate._target_=zoo.run.callbacks.interrupt.Budget",
            "callbacks.evaluate._target_: it takes no callbacks.evaluate.",
        ),
        ("run_dir=null", "run_dir=None: expected text"),
        ("+trainer.max_epochs=auto", "trainer.max_epochs=auto does not fit players that take turns"),
        ("data=~/pictures", "there is no data=~/pictures; did you mean data=folder data.root=~/pictures?"),
        ("data=/tmp/a/b", "there is no data=/tmp/a/b; did you mean data=folder data.root=/tmp/a/b?"),
        ("loss=wgan-gp", "there is no loss=wgan-gp; did you mean loss=wasserstein regularizer=gradient_penalty?"),
        ("model=StyleGAN2", "there is no model=StyleGAN2; did you mean model=stylegan_lite?"),
        (
            "model=wgan",
            "there is no model=wgan; did you mean model=dcgan loss=wasserstein regularizer=gradient_penalty",
        ),
        ("--config-name=nothing", "Cannot find primary config 'nothing'"),
        ("+trainer.strategy=fsdp", "trainer.strategy=fsdp does not fit players that take turns: Lightning's"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_remedy(
    argument: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        typed(*argument.split(), f"hydra.run.dir={tmp_path}")
    assert left.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[0].startswith(f"train.py: {sentence}")
    assert len(said) == 1


def test_a_mistake_as_the_shell_sees_it(tmp_path: Path) -> None:
    result = line("model.latentdim=3", f"hydra.run.dir={tmp_path}")
    assert result.returncode == 2
    assert result.stderr == "train.py: there is no setting 'model.latentdim'; did you mean model.latent_dim?\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["data.image_size=30"], "image_size=30x30 does not fit these networks"),
        (["data=folder", "metrics=none"], "data.root"),
        (["data=folder", "metrics=none", "data.root=/nowhere"], "/nowhere"),
        (["callbacks.samples.every=-1"], "interval of -1 images"),
    ],
)
def test_a_mistake_found_later_is_one_sentence_too(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = compose(f"run_dir={tmp_path}", "callbacks.report.overrides=[]", "logger=none", *arguments)
    with pytest.raises(SystemExit) as stop, readable_errors():
        run(cfg)
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("train.py: ")
    assert sentence in said


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("+callbacks.mine._target_=foo.Bar", "callbacks.mine: Error loading 'foo.Bar'"),
        ("+callbacks.mine._target_=zoo.run.callbacks.interrupt.Budget", "callbacks.mine: "),
        ("+trainer.foo=5", "there is no setting 'trainer.foo'"),
        ("+data.foo=5", "there is no setting 'data.foo'"),
    ],
)
def test_what_hydra_cannot_build_is_a_sentence(settings: str, words: str, tmp_path: Path) -> None:
    cfg = compose(f"run_dir={tmp_path}", "logger=none", "data=digits", settings)
    with pytest.raises(Exception) as raised:  # noqa: PT011
        run(cfg)
    said = sentence(raised.value, [settings])
    assert said
    assert said.startswith(words)
    assert "\n" not in said
    assert "HYDRA_FULL_ERROR" not in said


@pytest.mark.slow
def test_the_plugins_are_asked_for_by_what_hydra_has_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slurm = [("hydra/launcher", "submitit_slurm"), ("hydra/launcher", "submitit_local")]
    installed = slurm if find_spec("submitit") else []
    for (group, name), package in PLUGINS.items():
        if (group, name) in installed:
            continue
        with pytest.raises(SystemExit):
            typed(f"{group}={name}", f"hydra.run.dir={tmp_path}")
        assert (
            capsys.readouterr().err == f"train.py: {group}={name} is in a package of its own: pip install {package}\n"
        )


@pytest.mark.slow
def test_a_setting_added_by_its_parts_or_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """+group.new.key=value is +group.new={key: value}."""
    seen: list[Any] = []
    monkeypatch.setattr("zoo.run.sweep.objective", lambda cfg: seen.append(plain(cfg)["callbacks"]["mine"]))
    target = "lightning.pytorch.callbacks.Timer"
    for line in (
        [f"+callbacks.mine._target_={target}", "+callbacks.mine.duration.days=1", "+callbacks.mine.interval=step"],
        [f"+callbacks.mine={{_target_: {target}, duration: {{days: 1}}, interval: step}}"],
        [f"--callbacks.mine={{_target_: {target}, duration: {{days: 1}}, interval: step}}".replace("--", "++")],
    ):
        typed(*line, f"hydra.run.dir={tmp_path}")
    assert seen == [{"_target_": target, "duration": {"days": 1}, "interval": "step"}] * 3


def test_an_error_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(KeyError), readable_errors():
        raise KeyError("a bug")
    with pytest.raises(ValueError, match="not of this project"), readable_errors():
        raise ValueError("not of this project")


def test_a_typo_in_an_experiment_is_found() -> None:
    defaults = plain(compose("hydra.run.dir=x", "run_dir=x", "logger=none", "callbacks.report.overrides=[]"))
    with pytest.raises(ValueError, match=r"no setting 'model.widht'; did you mean model.width\?"):
        check({"model": {"widht": 3}}, defaults)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        alone_in(str(tmp_path)),
        pytest.raises(ValueError, match="another process is training in"),
        alone_in(str(tmp_path)),
    ):
        pass
    with alone_in(str(tmp_path)):
        pass


def test_a_lock_that_is_a_pipe_or_a_link_neither_waits_nor_is_followed(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    os.mkfifo(lock)
    with alone_in(str(tmp_path)):
        pass
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), alone_in(str(tmp_path)):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_where_a_resumed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_folder = tmp_path / "x"
    (run_folder / "checkpoints").mkdir(parents=True)
    (run_folder / ".hydra").mkdir()
    settings = run_folder / ".hydra" / "overrides.yaml"
    settings.write_text("- seed=3\n")
    new = [f"hydra.run.dir={run_folder}", "seed=3"]
    assert command_line([*new, "resume=auto"]) == new  # no checkpoint yet: a new run in that folder
    (run_folder / "checkpoints" / "best.ckpt").touch()
    goes_on = ["seed=3", f"resume='{run_folder}'", f"hydra.run.dir='{run_folder}'"]
    assert command_line([*new, "resume=auto"]) == goes_on
    assert command_line([f"resume={run_folder}"]) == goes_on
    file = run_folder / "checkpoints" / "best.ckpt"
    assert command_line([f"resume={file}"]) == ["seed=3", f"resume='{file}'", f"hydra.run.dir='{run_folder}'"]
    with pytest.raises(ValueError, match=r"leave out hydra\.run\.dir"):
        command_line([f"resume={run_folder}", "hydra.run.dir=elsewhere"])
    monkeypatch.setenv("RANK", "1")  # torchrun's second rank writes nothing there
    assert command_line([f"resume={run_folder}"]) == [*goes_on, "hydra.output_subdir=null"]
    assert command_line(["seed=3"]) == ["seed=3", "hydra.run.dir=.", "hydra.output_subdir=null"]
    settings.write_text("- +callbacks.budget._target_=os.system\n")
    with pytest.raises(ValueError, match="could run any code"):
        command_line([f"resume={run_folder}"])


def test_run_dir_is_the_folder_of_all_that_a_run_writes(tmp_path: Path) -> None:
    """Hydra's own notes too, by which it is resumed and listed."""
    name = f"run_dir={tmp_path}"
    assert command_line([name, "seed=3"]) == [f"hydra.{name.replace('_', '.', 1)}", "seed=3"]
    both, sweep = [name, "hydra.run.dir=elsewhere"], ["-m", name, "seed=1,2"]
    assert command_line(both) == both
    assert command_line(sweep) == sweep


@pytest.mark.slow
def test_a_sweep_over_processes_says_how_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        typed("-m", "trainer=ddp_cpu", "seed=1,2", f"hydra.sweep.dir={tmp_path}")
    assert left.value.code == 2
    assert "-m can't start several processes for each run of a sweep" in capsys.readouterr().err


def test_what_fits_where_no_constructor_says_it() -> None:
    defaults = {"a": 1, "b": 0.5, "c": "x", "d": None, "e": True, "f": [1, 2], "g": {"h": 1}}
    assert check({"a": 3e5, "b": 1, "c": 3, "d": "anything", "e": False, "f": [3]}, defaults) == {"a": 300_000}
    assert check({"d": None, "g": {"new": 1}}, defaults, added=["g.new"]) == {}
    for bad in ({"a": 0.5}, {"a": True}, {"b": "x"}, {"e": 1}, {"f": 3}, {"g": 3}, {"a": None}):
        with pytest.raises(ValueError, match="expected"):
            check(bad, defaults)


class Shared(TypedDict, total=False):
    half_life: float | None
    decay: int | str | None


class Constructed:
    def __init__(
        self,
        *,
        size: int | Sequence[int],
        cache: str | bool,
        folder: str | None,
        fit: Literal["crop", "pad"],
        limits: dict[str, float],
        part: "Constructed | None",
        **shared: Unpack[Shared],
    ) -> None: ...


@pytest.mark.parametrize(
    ("key", "valid", "expected"),
    [
        ("size", [64, [64, 32]], {None: "a whole number or a list", "big": "a whole number or a list"}),
        ("cache", ["auto", True, False], {None: "text or true or false"}),
        ("folder", ["x", None, 2024], {True: "text or null"}),
        ("fit", ["crop", "pad"], {}),
        ("limits", [{"won": 1}], {3: "settings"}),
        ("half_life", [3, 0.5, None], {"long": "a number or null"}),
        ("decay", [3, "half", None], {True: "a whole number or text or null"}),
    ],
)
def test_what_fits_is_the_constructors_annotation(key: str, valid: list[Any], expected: dict[Any, str]) -> None:
    target = {"_target_": f"{__name__}.Constructed"}
    defaults = {"size": 32, "cache": "auto", "folder": None, "fit": "crop", "limits": {"won": 0.9}, "part": None}
    defaults = {"outer": {**target, **defaults, "half_life": 5.0, "decay": None}}
    for value in valid:
        assert check({"outer": {**target, key: value}}, defaults) == {}
    for value, words in expected.items():
        with pytest.raises(ValueError, match=rf"outer\.{key}={value}: expected {words}"):
            check({"outer": {**target, key: value}}, defaults)


def test_whole_numbers_written_as_floats() -> None:
    target = {"_target_": f"{__name__}.Constructed"}
    defaults = {"outer": {**target, "size": 32, "decay": None, "half_life": 5.0, "limits": {"won": 0.9}}}
    values = {"outer": {**target, "size": 64.0, "decay": 3e5, "half_life": 64.0, "limits": {"won": 1}}}
    assert check(values, defaults) == {"outer.size": 64, "outer.decay": 300_000}
    with pytest.raises(ValueError, match=r"limits\.won=x: expected a number, such as outer\.limits\.won=0\.9"):
        check({"outer": {**target, "limits": {"won": "x"}}}, defaults)


def test_nearest_says_the_names_when_none_is_close() -> None:
    assert nearest("zzz", ["model", "data", "model.width"]) == "the names are model, data"


@pytest.mark.slow
def test_help_and_cfg_answer_without_torch() -> None:
    code = (
        "import sys, runpy; sys.argv = ['train.py', '--help']\n"
        "try: runpy.run_path('train.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'lightning', 'wandb'} & sys.modules.keys()"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    models = ", ".join(sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")))
    assert f"model: {models}\n" in result.stdout
    assert "max_images: 150000" in line("--cfg", "job").stdout


@pytest.mark.slow
def test_groups_bring_what_suits_them_and_the_command_line_wins() -> None:
    free = ["run_dir=x", "callbacks.report.overrides=[]", "logger=none"]
    assert compose("model=vanilla", *free).data._target_.endswith("MNIST5k")
    assert compose("data=cifar10", *free).metrics.extractor._target_.endswith("Inception")
    assert compose("data=cifar10", "metrics=none", *free).metrics == {}
    assert compose("model=vanilla", "data=digits", "max_images=5", *free).max_images == 5


def documented() -> list[str]:
    """Every command line that --help and train.py's docstring name; those of pages: tests/test_docs.py."""
    texts = [(ROOT / name).read_text() for name in ("conf/train.yaml", "train.py")]
    texts = [text.replace("${trains:}", "python train.py") for text in texts]
    lines = [line.strip() for text in texts for line in re.sub(r"\\\n *", "", text).splitlines()]
    return sorted(
        {
            line.split("#")[0].split("   ")[0]
            for line in lines
            if line.startswith("python train.py ") and "--" not in line
        }
    )


@pytest.mark.parametrize("command", documented())
def test_documented_commands_compose(command: str) -> None:
    arguments = shlex.split(command)[2:]
    arguments = [a for a in arguments if not a.startswith(("-", "resume=", "hydra/sweeper=")) and "," not in a]
    compose(*overrides(arguments), "run_dir=x", "callbacks.report.overrides=[]", "logger=none")


@pytest.mark.parametrize("key", ["max_images", "model.lr.D", "cache_dir"])
def test_null_where_a_value_is_needed(key: str) -> None:
    defaults = plain(compose("run_dir=x", "logger=none", "callbacks.report.overrides=[]"))
    outer, _, inner = key.partition(".")
    config = {outer: None} if not inner else {"model": {"lr": {"D": None}}}
    with pytest.raises(ValueError, match=f"{key}=None: expected"):
        check(config, defaults)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["metrics.num_real=5_000"], "metrics.num_real=5000, but the train split has 1442 images"),
        (["data.channels=4"], "images of 1 or 3 channels, and these have 4: set metrics=none"),
        (["metrics=inception", "metrics.extractor.weights=/nowhere.pth"], "/nowhere.pth"),
        (["trainer=gpu"], "trainer=cpu or trainer=auto"),
    ],
)
def test_what_cannot_work_fails_before_the_first_step(
    overrides: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["data=digits", "data.image_size=16", "model.width=4", "data.batch_size=16", "logger=none", "trainer=cpu"]
    cfg = compose(*small, f"run_dir={tmp_path}", "callbacks.report.overrides=[]", *overrides)
    if "trainer=gpu" in overrides and torch.cuda.is_available():
        return
    with pytest.raises(SystemExit), readable_errors():
        run(cfg)
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("checkpoints/*"))


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(ValueError, match=r"holds a run already: resume="):
        run(compose(f"run_dir={tmp_path}", "callbacks.report.overrides=[]", "logger=none"))


@pytest.mark.parametrize(
    ("overrides", "valid"),
    [
        (["data=folder"], {"data.cache": True, "data.image_size": [32, 64], "metrics.num_fake": None}),
        (["model=cyclegan", "data=unpaired_folder"], {"data.load_size": None, "data.test_folder_x": None}),
        (
            ["model=pix2pix", "data=paired_folder"],
            {"data.test_folder": None, "metrics.cache_dir": None},
        ),
        (["trainer=gpu"], {"trainer.devices": [0, 2], "trainer.precision": "16-mixed"}),
        ([], {"model.clip_norm": 1, "model.decay_start": 3, "model.skip_d_above": 0.9, "max_time": "1:2"}),
    ],
)
def test_what_the_constructors_of_this_project_take(overrides: list[str], valid: dict[str, Any]) -> None:
    cfg = compose("logger=csv", *overrides, "run_dir=x", "callbacks.report.overrides=[]")
    defaults = plain(cfg)
    for key, value in valid.items():
        OmegaConf.update(cfg, key, value)
    assert check(plain(cfg), defaults) == {}


def test_each_choice_of_a_group_has_a_line_about_it() -> None:
    """`zoo list` and `--help` name the same choices."""
    for group in set(groups()) - {"hydra"}:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            assert list(choices(group)) == GlobalHydra.instance().config_loader().get_group_options(group)
        assert all(len(line) > 10 for line in choices(group).values())


def settings(*overrides: str) -> dict[str, Any]:
    given = ["logger=csv", "run_dir=a", "callbacks.report.overrides=[]", "data=digits", *overrides]
    return plain(compose(*given))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["run_dir=b", "cache_dir=c", "logger=none", "max_time=01:00:00"], []),
        (["seed=3"], ["seed 1 -> 3"]),  # data.seed follows it
        (["data.seed=3"], ["data.seed 1 -> 3"]),
        (["compile=true", "log_every=5"], ["log_every 1000 -> 5", "compile False -> True"]),
        (["trainer.precision=bf16-mixed"], ["trainer.precision 32-true -> bf16-mixed"]),
        (["+trainer.limit_train_batches=3"], ["trainer.limit_train_batches none -> 3"]),
        (["callbacks.evaluate.every=5"], ["callbacks.evaluate.every 15000 -> 5"]),
        (["callbacks.evaluate.patience=5"], ["callbacks.evaluate.patience none -> 5"]),
        (["metrics=none"], ["metrics Evaluation -> none", "metrics.extractor DigitClassifier -> none"]),
        (
            ["metrics=cifar10"],
            ["metrics.extractor DigitClassifier -> CIFAR10Classifier", "metrics.num_fake 5000 -> 10000"],
        ),
        (
            ["trainer=ddp_cpu"],
            [
                *("trainer.accelerator auto -> cpu", "trainer.devices 1 -> 2", "trainer.num_nodes none -> 1"),
                "trainer.strategy none -> TurnDDP",
            ],
        ),
        (
            ["max_images=30_000"],
            [
                "max_images 150000 -> 30000",
                "callbacks.samples.every, callbacks.evaluate.every, callbacks.health.every, "
                "callbacks.checkpoints.every 15000 -> 3000",
                "model.decay_end 150000 -> 30000",
            ],
        ),
    ],
)
def test_a_run_that_goes_on_says_which_settings_that_act_are_others(overrides: list[str], said: list[str]) -> None:
    assert changes(settings(), settings(*overrides)) == said
    assert len(changes(settings(*overrides), settings())) == len(said)
    assert changes({**settings(), "ranges": [[0, 4080]]}, settings(*overrides)) == said  # found in the data


def test_a_setting_that_there_was_not_yet_is_no_change() -> None:
    """In a run of an earlier version; where it is typed, it is one."""
    before, now = settings(), settings("cuda_graph=true", "model.n_critic=2")
    del before["cuda_graph"], before["model"]["n_critic"]
    assert changes(before, now, typed=set()) == []
    assert changes(before, now, typed={"cuda_graph"}) == ["cuda_graph none -> True"]


def test_what_a_file_says_does_not_steer_the_terminal() -> None:
    settings = plain(compose("run_dir=x", "callbacks.report.overrides=[]"))
    for odd in ({"scale": "\x1b[31mred\nline"}, {"\x1b[2Jkey": 1}, {"scale": "x" * 5000}):
        (said,) = changes({**settings, **odd}, settings)
        assert said.isprintable()
        assert len(said) < 400


@pytest.mark.parametrize(
    "callbacks",
    [[1], {"samples": "every"}, {"samples": {"every": None}}, {"samples": {"every": None, "max_images": "y"}}, None],
)
def test_settings_of_another_shape_are_compared(callbacks: Any) -> None:
    """A checkpoint's may have any."""
    settings = plain(compose("run_dir=x", "callbacks.report.overrides=[]"))
    assert changes({**settings, "callbacks": callbacks}, settings)


def test_a_sentence_has_all_its_lines_and_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), readable_errors():
        check({"scale": ["\x1b[31mred\nline"]}, {"scale": "small"})
    said = capsys.readouterr().err
    assert said.startswith("train.py: scale=['\\x1b[31mred")
    assert said[:-1].isprintable()


def test_a_package_that_something_chosen_needs_is_a_sentence() -> None:
    lacking = ModuleNotFoundError("`DeviceStatsMonitor` needs psutil: pip install psutil\nmore")
    assert sentence(lacking, []) == "`DeviceStatsMonitor` needs psutil: pip install psutil"
    assert sentence(ModuleNotFoundError("No module named 'zoo.nothing'"), []) is None, "a bug"
