"""`resume=`: of a run's folder, which may be a stranger's, come plain settings; damaged ones are a sentence."""

import os
import re
from pathlib import Path

import pytest
import torch
from common import checkpoint_of_nothing

from zoo.run.command import command_line
from zoo.run.grammar import parted


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder without settings, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    return tmp_path / "run"


def settings_of(run: Path, *overrides: str) -> Path:
    file = run / ".hydra" / "overrides.yaml"
    file.write_text("".join(f"- {text!r}\n".replace("\\\\", "\\") for text in overrides) or "[]\n")
    return file


def kept(run: Path, *typed: str) -> list[str]:
    """What is taken of the run's own settings."""
    line = command_line([f"resume={run}", *typed])
    assert line[-2:] == [f"resume='{run}'", f"hydra.run.dir='{run}'"]
    flags, settings = parted([*typed])  # flags go before everything
    assert line[: len(flags)] == flags
    return line[len(flags) : len(line) - 2 - len(settings)]


REFUSED = [
    "hydra.searchpath=[file:///tmp/x]",
    "+hydra.job.env_set.EVIL=1",
    "hydra.job.env_set={EVIL: 1}",
    "hydra={searchpath: [x]}",
    "hydra/job_logging=evil",
    "hydra.callbacks.x._target_=os.mkdir",
    "--config-dir=/tmp/x",
    "-m",
    "data._target_=os.mkdir",
    "++data._target_=os.mkdir",
    "+callbacks.x={_target_: os.mkdir, name: y}",
    "callbacks.samples._args_=[x]",
    "data.image_size=[{_target_: numpy.savetxt, fname: x}]",
    "model.hidden=[[1, {a: {_partial_: true}}]]",
    "data={image_size: [{_target_: os.mkdir}]}",
    "data.root=${oc.env:HOME}",
    "data.root='${oc.env:HOME}/x'",
    "data.image_size=[${oc.decode:'1'}]",
    "experiment=evil",
    "data=../../evil",
    "data=[folder, evil]",
    "+model/evil=x",
    "+data@metrics=mnist5k",
    "seed=1,2",
    "seed=range(1, 9)",
    "model=glob(*)",
    "model",
    "=3",
    "[[[[",
    "data.image_sise=3",
    "x" * 3000,
]


@pytest.mark.parametrize("override", REFUSED, ids=lambda text: text[:40])
def test_what_is_no_plain_setting_is_refused(run: Path, override: str) -> None:
    """With the file, the override, and nothing else happening; the user may type it all the same."""
    before = dict(os.environ)
    file = settings_of(run, "model=vanilla", override)
    with pytest.raises(ValueError, match=r"overrides\.yaml is refused: ") as why:
        command_line([f"resume={run}"])
    assert str(file) in str(why.value)
    assert override.partition("=")[0].lstrip("+")[:40] in str(why.value)
    assert os.listdir() == ["run"]
    assert dict(os.environ) == before
    if (
        "=" in override[1:]
        and not override.startswith("-")
        and not re.search(r"^(hydra|data|model)=.*[^\w/.]", override)
    ):
        assert kept(run, override) == ([] if override.startswith("model=") else ["model=vanilla"])


@pytest.mark.parametrize(
    "override",
    [
        *("cache_dir=/elsewhere", "run_dir=/elsewhere", "data.cache_dir=/elsewhere", "metrics.cache_dir=/elsewhere"),
        *("callbacks.samples.folder=/elsewhere", "logger.csv.save_dir=/elsewhere", "~data.cache_dir"),
        *("logger={csv: {save_dir: /elsewhere}}", "+trainer.default_root_dir=/elsewhere", "data.root=/elsewhere"),
        *("hydra.run.dir=/elsewhere", "hydra/launcher=slurm", "hydra.sweep.dir=/elsewhere"),
    ],
)
def test_where_to_write_is_left_out_and_said(run: Path, override: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings_of(run, "data=mnist", override, "seed=3")
    assert kept(run) == ["data=mnist", "seed=3"]
    said = capsys.readouterr().out
    assert f"left out, since where to write is yours to say on the command line: {override}" in said
    assert kept(run, "cache_dir=mine") == ["data=mnist", "seed=3"]


@pytest.mark.slow
def test_plain_settings_are_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run.parent / "my pictures (new)").mkdir()
    overrides = [
        *("model=dcgan", "data=folder", "experiment=null", "loss=hinge", "regularizer=r1", "seed=3", "max_images=3e5"),
        *("+trainer.limit_train_batches=5", "~callbacks.health", "model.betas=[0.5, 0.9]", "model.lr={D: 1, G: 0.5}"),
        *(f'data.root="{run.parent}/my pictures (new)"', "callbacks.samples.every=null", "logger.wandb.project=a b"),
    ]
    settings_of(run, *overrides, "resume=auto")
    assert kept(run) == overrides
    assert kept(run, "seed=4") == [text for text in overrides if text != "seed=3"]
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "stays", "goes"),
    [
        ("metrics=none", ["data=folder", "data.root=a", "seed=3"], ["metrics.num_fake=32"]),
        ("metrics=cifar10", ["data=folder", "data.root=a", "seed=3"], ["metrics.num_fake=32"]),
        ("data=mnist", ["metrics.num_fake=32", "seed=3"], ["data.root=a"]),
        ("metrics=inception", ["data=folder", "data.root=a", "metrics.num_fake=32", "seed=3"], []),  # as it was
        ("data=folder", ["data.root=a", "metrics.num_fake=32", "seed=3"], []),
        ("data.root=b", ["data=folder", "metrics.num_fake=32", "seed=3"], []),
    ],
)
def test_what_is_below_a_group_that_is_chosen_anew_is_left_out_and_said(
    typed: str, stays: list[str], goes: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_of(run, "data=folder", "data.root=a", "metrics.num_fake=32", "seed=3")
    assert kept(run, typed) == stays
    said = f"their group is chosen anew (give again what shall stay): {', '.join(goes)}\n"
    assert (said in capsys.readouterr().out) == bool(goes)


@pytest.mark.parametrize(
    ("before", "typed"),
    [
        (["regularizer=r1", "model.regularizer.r1=5"], "regularizer=none"),
        (["trainer=ddp_cpu", "trainer.devices=2"], "trainer=cpu"),
        (["+trainer.detect_anomaly=true"], "trainer=ddp"),
        (["logger.wandb.project=x"], "logger=csv"),
        (["metrics={num_fake: 32}"], "metrics=none"),
        (["metrics.num_fake=32"], "data=super_resolution_folder"),  # whose metrics have none
    ],
)
def test_every_group_takes_what_is_below_it_away(before: list[str], typed: str, run: Path) -> None:
    settings_of(run, "model=dcgan", *before)
    assert kept(run, typed) == ["model=dcgan"]


def test_a_set_is_read_where_it_lies(run: Path) -> None:
    (run.parent / "mnist.npz").touch()
    settings_of(run, "data=mnist", "data.root=mnist.npz")
    assert kept(run) == ["data=mnist", "data.root=mnist.npz"]


def test_choices_of_a_folder_that_the_user_names(run: Path) -> None:
    (run.parent / "conf" / "data").mkdir(parents=True)
    (run.parent / "conf" / "data" / "mine.yaml").write_text("_target_: mine.Data\n")
    settings_of(run, "data=mine", "data.of_mine=1")
    with pytest.raises(ValueError, match=r"there is no data='mine' here \(of a folder of your own: --config-dir\)"):
        command_line([f"resume={run}"])
    for typed in (["--config-dir=conf"], ["--config-dir", "conf"], ["-cd", "conf"]):
        assert kept(run, *typed) == ["data=mine", "data.of_mine=1"]


DAMAGED = {
    "a dict": b"{model: dcgan}",
    "text": b"model=dcgan",
    "nothing": b"",
    "numbers": b"- 3\n- 4\n",
    "lists": b"- [model=dcgan]\n",
    "a Python object": b"- !!python/object/apply:os.mkdir [made]\n",
    "a Python name": b"!!python/name:os.system\n",
    "an alias": b"- &a [x]\n- *a\n",
    "no YAML": b"- a\n b: [c\n",
    "brackets": b"[" * 5000,
    "no UTF-8": b"- model=\xff\xfe\n",
    "a null byte": b"- model=\x00\n",
    "too large": b"- model=dcgan\n" * 20_000,
}


@pytest.mark.parametrize("form", DAMAGED)
def test_damaged_settings_are_a_sentence(run: Path, form: str) -> None:
    (run / ".hydra" / "overrides.yaml").write_bytes(DAMAGED[form])
    with pytest.raises(ValueError, match=r"overrides\.yaml is damaged: ") as why:
        command_line([f"resume={run}"])
    assert len(str(why.value).splitlines()) == 1
    assert os.listdir() == ["run"]


def test_what_is_no_file_does_not_wait(run: Path) -> None:
    file = run / ".hydra" / "overrides.yaml"
    os.mkfifo(file)
    with pytest.raises(ValueError, match=r"overrides\.yaml is no file"):
        command_line([f"resume={run}"])
    file.unlink()
    file.mkdir()
    with pytest.raises(ValueError, match=r"overrides\.yaml is no file"):
        command_line([f"resume={run}"])


@pytest.mark.slow
def test_the_newest_run_passes_over_what_is_damaged(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def trained(name: str, time: int, settings: bytes, *, broken: bool = False) -> None:
        folder = Path("outputs", "dcgan-mnist5k", name)
        for part in (".hydra", "checkpoints"):
            (folder / part).mkdir(parents=True)
        (folder / ".hydra" / "overrides.yaml").write_bytes(settings)
        checkpoint = folder / "checkpoints" / "last.ckpt"
        torch.save(checkpoint_of_nothing(), checkpoint)
        if broken:
            checkpoint.write_bytes(checkpoint.read_bytes()[:100])
        os.utime(checkpoint, (time, time))

    trained("good", 100, b"- seed=3\n")
    trained("broken", 200, b"- seed=3\n", broken=True)
    trained("hostile", 300, b"- seed=3\n- hydra.searchpath=[x]\n")
    for form, damaged in DAMAGED.items():
        trained(form, 400, damaged)
    trained("pipe", 500, b"")
    pipe = Path("outputs", "dcgan-mnist5k", "pipe", ".hydra", "overrides.yaml")
    pipe.unlink()
    os.mkfifo(pipe)
    Path("outputs", "dcgan-mnist5k", "good", "checkpoints", "folder.ckpt").mkdir()
    assert command_line(["seed=3", "resume=auto"])[-1] == "hydra.run.dir='outputs/dcgan-mnist5k/good'"
    assert "resume=auto passes over outputs/dcgan-mnist5k/broken: " in capsys.readouterr().out
    assert command_line(["seed=9", "resume=auto"]) == ["seed=9"]


@pytest.mark.parametrize("name", [".lock", ".hydra/config.yaml", "train.log"])
def test_a_run_writes_through_no_link_and_into_no_pipe(run: Path, tmp_path: Path, name: str) -> None:
    """These are opened in place: a pipe would be waited for, and a link may lead anywhere."""
    settings_of(run, "model=vanilla")
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=f"{name} is no file but a link, a pipe or a folder: remove it"):
        command_line([f"resume={run}"])
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(ValueError, match=f"{name} is no file but"):
        command_line([f"resume={run}"])
