"""Signals: before training, in it, after it, from a batch system."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from common import ROOT, when
from omegaconf import DictConfig

from train import run
from zoo.atomic import replacing
from zoo.cli import main
from zoo.data.module import DataModule
from zoo.run.callbacks.report import Report
from zoo.run.checkpoint import newest, read
from zoo.run.command import readable_errors

Small = Callable[..., DictConfig]


def send(number: int) -> Callable[..., None]:
    return lambda *arguments, **settings: os.kill(os.getpid(), number)


NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def before() -> Iterator[list[Any]]:
    """The handlers before the test, which come back after it."""
    handlers = [signal.getsignal(number) for number in NUMBERS]
    yield handlers
    for number, handler in zip(NUMBERS, handlers, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTERM"])
def test_a_signal_saves_and_leaves_with_its_status(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, before: list[Any]
) -> None:
    number = getattr(signal, name)
    when(32, send(number), monkeypatch)
    cfg = small("vanilla", "logger=none")
    with pytest.raises(SystemExit) as left:
        run(cfg)
    assert left.value.code == 128 + number
    assert read(newest(cfg.run_dir))["zoo"]["images"] == 32
    assert f"{name}: saved at image 32; to go on: python train.py resume=" in capsys.readouterr().out
    assert [signal.getsignal(other) for other in NUMBERS] == before


def test_a_terminal_that_closes_sends_several(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(model: Any) -> None:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            os.kill(os.getpid(), number)

    when(32, hang_up, monkeypatch)
    cfg = small("vanilla", "logger=none")
    with pytest.raises(SystemExit) as left:
        run(cfg)
    assert left.value.code == 128 + signal.SIGHUP
    assert read(newest(cfg.run_dir))["zoo"]["images"] == 32


def test_under_nohup_a_terminal_may_close(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    when(32, send(signal.SIGHUP), monkeypatch)
    assert run(small("vanilla", "logger=none")).lightning_module.images == 128  # type: ignore[union-attr]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize(
    ("job", "named", "scontrol", "status"),
    [
        ({"SLURM_JOB_ID": "17"}, "17", 0, 0),
        ({"SLURM_JOB_ID": "18", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}, "12_3", 0, 0),
        ({"SLURM_JOB_ID": "17"}, "17", 1, 128 + signal.SIGUSR1),
        ({"SLURM_JOB_ID": "17"}, "", None, 128 + signal.SIGUSR1),
    ],
)
def test_a_warning_of_slurm_queues_the_job_again(
    small: Small,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    job: dict[str, str],
    named: str,
    scontrol: int | None,
    status: int,
) -> None:
    """Once, after all is saved; `scontrol`: the status of SLURM's command, None: there is none."""
    if scontrol is not None:
        (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/asked\nls {tmp_path}/run/checkpoints >> "
                                           f"{tmp_path}/asked\nexit {scontrol}\n")  # fmt: skip
        (tmp_path / "scontrol").chmod(0o755)
    for name, value in (job | {"PATH": f"{tmp_path}:/usr/bin:/bin"}).items():
        monkeypatch.setenv(name, value)
    when(32, send(signal.SIGUSR1), monkeypatch)
    with pytest.raises(SystemExit) as left:
        run(small("vanilla", "logger=none"))
    assert left.value.code == status
    output = capsys.readouterr().out
    assert "SIGUSR1: saved at image 32" in output
    assert ("runs the job again" in output) is (status == 0)
    assert (f"job {job['SLURM_JOB_ID']} was not queued again" in output) is (status != 0)
    if scontrol is not None:
        assert (tmp_path / "asked").read_text() == f"requeue {named}\nlast.ckpt\n"


def test_who_has_the_warning_already_gets_it_after_the_save(
    small: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """submitit queues its job again itself: SLURM is not asked a second time."""
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("PATH", "/nowhere")
    cfg, found = small("vanilla", "logger=none"), []

    def queue_again(number: int, frame: FrameType | None) -> None:
        found.append(read(newest(cfg.run_dir))["zoo"]["images"])
        raise SystemExit(-1)

    signal.signal(signal.SIGUSR2, queue_again)
    when(32, send(signal.SIGUSR2), monkeypatch)
    with pytest.raises(SystemExit) as left:
        run(cfg)
    assert (left.value.code, found) == (-1, [32])


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_before_the_first_image(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """While the data are set up, in `fit`: Lightning's own handlers are not asked."""
    number = getattr(signal, name)
    monkeypatch.setattr(DataModule, "setup", send(number))
    with pytest.raises(SystemExit) as left, readable_errors():
        run(small("vanilla", "logger=none"))
    assert left.value.code == 128 + number
    error = capsys.readouterr().err
    assert error == f"train.py: {name}, interrupted before the first image: nothing was saved\n"


def test_a_signal_that_a_library_swallows_is_not_lost(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a bare `except:` around an import."""

    def swallow(*arguments: Any, **settings: Any) -> None:
        with suppress(BaseException):
            send(signal.SIGINT)()

    def broken() -> None:
        swallow()
        raise ImportError("loaded by half")

    monkeypatch.setattr(Report, "setup", swallow)
    trained = lambda: run(small("vanilla", "logger=none"))
    for do, said in ((trained, " before the first image"), (swallow, ""), (broken, "")):
        with pytest.raises(SystemExit) as left, readable_errors(interrupted=said):
            do()
        assert left.value.code == 128 + signal.SIGINT
        assert capsys.readouterr().err == f"train.py: SIGINT, interrupted{said}\n"


def test_lightning_takes_no_signals(small: Small, monkeypatch: pytest.MonkeyPatch, before: list[Any]) -> None:
    """It would let SIGTERM pass until training begins, and then end with status 0."""
    found = []
    monkeypatch.setattr(Report, "setup", lambda *a, **k: found.append([signal.getsignal(n) for n in NUMBERS]))
    run(small("vanilla", "logger=none", "max_images=16"))
    assert found == [before]


def test_a_signal_while_the_report_is_written(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish = Report.on_fit_end
    monkeypatch.setattr(Report, "on_fit_end", lambda *a: (send(signal.SIGTERM)(), finish(*a)))
    cfg = small("vanilla")
    with pytest.raises(SystemExit) as left:
        run(cfg)
    assert left.value.code == 128 + signal.SIGTERM
    assert Path(cfg.run_dir, "report.md").is_file()
    assert "SIGTERM: the run has ended, and everything is saved" in capsys.readouterr().out


def test_ctrl_c_leaves_no_half_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a `zoo` command, while it writes."""

    def write(**kwargs: str) -> None:
        with replacing(tmp_path / "grid.png") as part:
            part.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("zoo.cli.app", write)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 128 + signal.SIGINT
    assert capsys.readouterr().err == "zoo: SIGINT, interrupted\n"
    assert not list(tmp_path.iterdir())


def test_the_scripts_first_statement_is_about_ctrl_c() -> None:
    """Loading Hydra takes a second, in which Ctrl-C would be a traceback."""
    text = (ROOT / "train.py").read_text()
    assert text.index("signal.signal(signal.SIGINT") < text.index("import hydra")
