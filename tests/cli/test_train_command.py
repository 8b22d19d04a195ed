"""zoo train is train.py: sentences, statuses, flags; what a shell completes; what is typed to go on."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from common import CONF, ROOT, when
from omegaconf import OmegaConf

import zoo.cli
from zoo.cli import training
from zoo.run.config import choices, compose
from zoo.run.downloads import downloads
from zoo.text import trains

FAST = [
    *("data=digits", "data.image_size=16", "model.width=4", "data.batch_size=16", "trainer=cpu", "logger=csv"),
    *("metrics=none", "max_images=32"),
]
Zoo = Callable[..., int]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """`zoo WORDS` in this process: its status."""

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["zoo", *words])
        try:
            zoo.cli.main()
        except SystemExit as left:
            return int(left.code or 0)
        return 0

    return run


def test_other_processes_are_started_by_the_same_line(typed: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning runs sys.argv once more for each of them: without `train`, `zoo` would know no such command."""
    lines: list[list[str]] = []
    monkeypatch.setattr("zoo.cli.training._hydra", lambda arguments: lines.append([*sys.argv[1:], *arguments]))
    assert typed("train", "model=vanilla", "seed=2") == 0
    assert lines == [["train", "model=vanilla", "seed=2", "model=vanilla", "seed=2"]]


@pytest.mark.slow
def test_help_speaks_of_itself(typed: Zoo, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("train", "--help") == 0
    said = capsys.readouterr().out
    assert "  zoo train model=vanilla  " in said
    assert "train.py" not in said
    assert "model: cgan, cyclegan, " in said


@pytest.mark.parametrize("flag", [["--cfg", "job"], ["-c", "job", "-p", "model.lr"]])
def test_flags_of_hydra_may_stand_anywhere(flag: list[str], typed: Zoo, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("train", "model=vanilla", *flag, "model.lr.D=3e-4") == 0
    assert "D: 0.0003" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["modl=dcgan"], "there is no setting 'modl'; did you mean model?"),
        (["model=dcgann"], "there is no model=dcgann; did you mean dcgan?"),
        (["--confg-dir=x"], "'--confg-dir=x' is no"),
        (["--config-dir=nowhere"], "Additional config directory '"),
        (["dcgan"], "'dcgan' is no setting; did you mean model=dcgan?"),
        (["zz"], "'zz' is no setting: they are written KEY=VALUE, such as max_images=1000 (zoo train --help)"),
    ],
)
def test_what_is_wrong_is_a_sentence_of_its_own(
    words: list[str], sentence: str, typed: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("train", *words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"zoo train: {sentence}" if "confg" not in sentence else "zoo train: ")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_a_logger_that_is_not_installed_names_its_extra(
    typed: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lacking = "Neither `tensorboard` nor `tensorboardX` is available. Try `pip install`ing either."

    def refused(*arguments: Any, **more: Any) -> None:
        raise ModuleNotFoundError(lacking)

    monkeypatch.setattr("lightning.pytorch.loggers.TensorBoardLogger.__init__", refused)
    assert typed("train", *FAST, "logger=tensorboard") == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("zoo train: logger=tensorboard needs tensorboard")
    assert "pip install 'gan-zoo[tensorboard]'" in said


@pytest.mark.parametrize(("flags", "setting"), [([], "hydra.run.dir"), (["-m"], "hydra.sweep.dir")])
def test_where_nothing_may_be_written_another_place_is_named(
    flags: list[str],
    setting: str,
    typed: Zoo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    def refused(name: str, *arguments: Any, **more: Any) -> None:
        raise PermissionError(13, "Permission denied", "outputs")

    monkeypatch.setattr("hydra.core.utils.os.makedirs", refused)
    monkeypatch.setattr("pathlib.Path.mkdir", refused)
    assert typed("train", *flags, *FAST) == 2
    said = capsys.readouterr().err
    assert said == f"zoo train: outputs: Permission denied; give another place, {setting}=FOLDER\n"


@pytest.mark.slow
def test_a_run_by_configurations_of_one_s_own_goes_on_by_the_line_it_says(
    typed: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A set of images, a thinner model and a recipe, in a folder that --config-dir names."""
    mine = tmp_path / "my own"
    for name, text in {
        "data/cats.yaml": "defaults: [digits]\nimage_size: 16\nbatch_size: 16\n",
        "model/thin.yaml": "# @package _global_\ndefaults: [dcgan, _self_]\nmodel: {width: 4}\n",
        "experiment/night.yaml": (
            "# @package _global_\ndefaults: [override /model: thin, override /data: cats, override /metrics: none]\n"
            "max_images: 32\n"
        ),
    }.items():
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    settings = ["experiment=night", "trainer=cpu", "logger=csv", "hydra.run.dir=out/run"]
    with pytest.MonkeyPatch.context() as patch:
        when(16, lambda model: os.kill(os.getpid(), signal.SIGTERM), patch)
        assert typed("train", *settings, "--config-dir", "my own") == 128 + signal.SIGTERM
    said = capsys.readouterr().out
    line = said.split("; to go on: ")[1].splitlines()[0]
    assert line == "zoo train '--config-dir=my own' resume=out/run"
    assert typed(*shlex.split(line)[1:]) == 0
    assert "  zoo train model=dcgan " in capsys.readouterr().out  # what to try next
    report = (tmp_path / "out" / "run" / "report.md").read_text()
    assert "    zoo train '--config-dir=my own' experiment=night " in report
    # Without the folder there is no such choice, and the sentence says how to name it.
    assert typed("train", "resume=out/run") == 2
    assert "--config-dir" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_says_what_fails_by_its_own_name(
    typed: Zoo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("train", *FAST, "-m", "seed=-1,-2", f"hydra.sweep.dir={tmp_path}") == 2
    assert "zoo train: seed=-1 must not be negative" in capsys.readouterr().err


def test_a_configuration_that_chooses_itself(typed: Zoo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("# @package _global_\ndefaults: [/model: dcgan]\n")
    assert typed("train", f"--config-dir={tmp_path}", "model=mine") == 2
    assert capsys.readouterr().err.startswith("zoo train: the defaults of a configuration choose that configuration ag")


def test_what_is_typed_to_train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["zoo", "list"])
    assert trains() == "python train.py"
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/zoo", "train", "model=dcgan"])
    assert trains() == "zoo train"
    monkeypatch.setattr(sys, "argv", ["my_own.py"])
    monkeypatch.setattr("zoo.text.__file__", str(tmp_path / "site-packages" / "zoo" / "text.py"))
    assert trains() == "zoo train"


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], list[str]]:
    """What bash, which parts words at `=`, is given for a line."""

    def run(line: str) -> list[str]:
        words = [part for word in line.split(" ") for part in _parted_at_equals(word)]
        monkeypatch.setenv("_ZOO_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        monkeypatch.setattr(sys, "argv", ["zoo"])
        with suppress(SystemExit):
            zoo.cli.main()
        return capsys.readouterr().out.split()

    return run


def _parted_at_equals(word: str) -> list[str]:
    key, equals, value = word.partition("=")
    return [key, equals, *([value] if value else [])] if equals else [key]


@pytest.mark.slow
def test_bash_completes_settings_by_hydra(completed: Callable[[str], list[str]]) -> None:
    assert completed("zoo train model=dc") == ["dcgan"]
    assert set(completed("zoo train model=")) == set(choices("model"))
    assert "model.lr." in completed("zoo train model.l")
    assert completed("zoo train model=stylegan_lite model.w_d")[0] == "model.w_dim="  # of the model that was chosen
    assert completed("zoo train max_im") == ["max_images=", "max_images=150000"]  # two, so that no space is put there
    assert completed("zoo train model.lr") == ["model.lr.", "model.lr.D=", "model.lr.G="]
    assert completed("zoo train max_t") == ["max_time=", "max_time=VALUE"]
    assert completed("zoo train nonsense=") == []


def test_bash_completes_commands_and_runs(
    completed: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("outputs", "dcgan-mnist5k", "2026-01-31_12-00-00")
    (run / ".hydra").mkdir(parents=True)
    assert completed("zoo tr") == ["train", "translate"]
    assert completed("zoo sample dcgan-m") == ["dcgan-mnist", "dcgan-mnist5k"]
    assert completed("zoo evaluate outputs/") == [str(run)]
    assert completed("zoo sample nowhere/") == []  # bash then completes paths
    assert completed("zoo train start=van") == ["vanilla-mnist5k"]
    assert completed("zoo train resume=o") == [str(run)]


def test_other_shells_complete_whole_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert training.words_after(["model=vanilla", "loss=h"]) == ["loss=hinge"]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cats.yaml").write_text("defaults: [digits]\n")
    assert training.words_after([f"--config-dir={tmp_path}", "data=ca"]) == ["data=cats"]


def test_the_completion_of_train_py_is_hydras() -> None:
    """As docs/install.md installs it."""
    environment = {"COMP_LINE": "python train.py loss=h", "PATH": "", "HOME": "/"}
    answer = subprocess.run(
        [sys.executable, "train.py", "-sc", "query=bash"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert answer.stdout.split() == ["loss=hinge"], answer.stderr


def fetching(group: str, name: str) -> list[str]:
    """What a choice builds that fetches something: classes by name, however they are configured."""
    cfg: Any = compose(f"{group}={name}", "run_dir=x", "logger=none")
    data = cfg.data._target_.rpartition(".")[2] if group != "metrics" else ""
    parts = [data] if cfg.data._target_.startswith("zoo.data.public.") and data else []
    extractor = OmegaConf.select(cfg, "metrics.extractor._target_") or ""
    return parts + [name for name in ("Inception", "VGG16", "CLIP", "DINOv2") if extractor.endswith(f".{name}")]


@pytest.mark.slow
@pytest.mark.parametrize("group", ["data", "metrics", "model", "experiment"])
def test_what_the_list_says_is_downloaded_is(group: str) -> None:
    quick = {"experiment": ["cgan_cifar10", "dcgan_cifar10", "dcgan_faces", "r3gan_ffhq64", "cyclegan_maps"]}
    for name in quick.get(group, choices(group)):
        said = downloads(group, name)
        sizes = [part for part in said.split(", and ") if part and " with " not in part]
        assert len(sizes) == len(fetching(group, name)), (group, name, said, fetching(group, name))


def test_the_list_says_what_is_downloaded(typed: Zoo, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("list") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert lines["cifar10"].endswith("accuracy_cifar10: on 64 features of our classifier.")  # metrics=, the later one
    assert lines["fashion_mnist"].endswith(" Downloads 30 MB, and 96 MB by metrics=inception.")
    assert lines["cgan_cifar10"].endswith(" Downloads 170 MB by data=cifar10.")
    assert lines["inpaint"].endswith("of whole photographs: X is made of them on the fly.")
    assert lines["srgan_bsd200"].endswith("data.test_root= and start=RUN/checkpoints/best.ckpt of that run.")
    assert not [line for line in lines.values() if line.endswith((",", ":")) or " ... Downloads" in line]
    assert lines["srgan"].endswith(" Downloads 548 MB with model.content=vgg.")
    assert "Downloads" not in lines["mnist5k"] + lines["dcgan"] + lines["scenes"] + lines["dcgan-mnist5k"]
    assert sum("\n# Downloads " in file.read_text() for file in CONF.rglob("*.yaml")) == 13
