"""The books: rows at their images, nothing lost, nothing that needs an account."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
import wandb
from common import CONF, needs
from hydra.core.hydra_config import HydraConfig

from zoo.run.loggers import CSV, TensorBoard, WeightsAndBiases, rows_of


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_keeps_rows_when_columns_come(tmp_path: Path) -> None:
    books = CSV(save_dir=str(tmp_path))
    books.log_metrics({"a": 1.5}, step=10)
    books.log_metrics({"b": 2.0, "a": 3.0}, step=20)
    books.log_metrics({"b": 4.0}, step=30)
    assert rows(tmp_path / "metrics.csv") == [
        {"images": "10", "a": "1.5", "b": ""},
        {"images": "20", "a": "3.0", "b": "2.0"},
        {"images": "30", "a": "", "b": "4.0"},
    ]


def test_csv_goes_on_with_an_earlier_file(tmp_path: Path) -> None:
    CSV(save_dir=str(tmp_path)).log_metrics({"a": 1.0}, step=10)
    CSV(save_dir=str(tmp_path)).log_metrics({"a": 2.0}, step=20)
    assert [row["a"] for row in rows(tmp_path / "metrics.csv")] == ["1.0", "2.0"]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"images,a\n10,1.5\n20,2.5\n30,3", ["1.5", "2.5"]),  # killed while it wrote
        (b"images,a\n10,1.5\n2", ["1.5"]),
        (b"", []),
        (b"images,a\n10,1.5\nx,y\n20,2.5\n", ["1.5", "2.5"]),
        (b"images,a\n10,1.5\n\0\0\0\n20,2.5\n", ["1.5", "2.5"]),
        (b"images,a\n10,1.5\n20,2.5,7\n20,\n", ["1.5", ""]),
        (b"images,a\n10,1.5\n15,2.5e\n20,nan\n", ["1.5", "nan"]),
        (b"step,a\n10,1.5\n", []),  # another program's
        (b"images,a,a\n10,1,2\n", []),
        (bytes(range(256)) * 2_000, []),
        (b"images," + b"x" * 300_000, []),
    ],
)
def test_csv_goes_on_with_a_damaged_file(
    tmp_path: Path, content: bytes, kept: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What it had is taken, as far as it makes sense; nothing gets lost without a word."""
    (tmp_path / "metrics.csv").write_bytes(content)
    books = CSV(save_dir=str(tmp_path))
    books.log_metrics({"a": 9.0}, step=40)
    assert [row["a"] for row in rows(tmp_path / "metrics.csv")] == [*kept, "9.0"]
    beside = tmp_path / "metrics-damaged.csv"
    assert beside.exists() is ("is damaged" in caplog.text)
    if beside.exists():
        assert beside.read_bytes() == content
    else:
        assert content.startswith(b"images,a\n10,1.5\n2") or not content
    assert rows_of(tmp_path / "metrics.csv")[1] is False


def test_csv_with_a_folder_or_a_pipe_in_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "metrics.csv")  # which would wait for a reader
    CSV(save_dir=str(tmp_path)).log_metrics({"a": 1.0}, step=10)
    assert [row["a"] for row in rows(tmp_path / "metrics.csv")] == ["1.0"]
    (tmp_path / "metrics.csv").unlink()
    (tmp_path / "metrics.csv" / "folder").mkdir(parents=True)
    books = CSV(save_dir=str(tmp_path))
    for step in (10, 20):
        books.log_metrics({"a": 1.0}, step=step)
    assert caplog.messages == [f"{tmp_path}/metrics.csv could not be written (Is a directory); training goes on"]


def test_tensorboard_writes_events_by_images(tmp_path: Path) -> None:
    EventAccumulator = needs("tensorboard.backend.event_processing.event_accumulator").EventAccumulator

    books = TensorBoard(save_dir=str(tmp_path))
    books.log_metrics({"D/adversarial": 1.25}, step=640)
    books.log_image("samples", [np.zeros((8, 8, 3), np.uint8)], step=640)
    books.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("D/adversarial")] == [(640, 1.25)]
    assert [e.step for e in events.Images("samples")] == [640]


def books(tmp_path: Path, **changes: object) -> WeightsAndBiases:
    settings: dict[str, object] = {
        "project": "test",
        "save_dir": str(tmp_path),
        "name": "run",
        "log_checkpoints": False,
        "init_timeout": 5,
        **dict.fromkeys(("entity", "group", "job_type", "notes")),
        "tags": [],
    }
    return WeightsAndBiases(**(settings | changes))  # type: ignore[arg-type]


def inspected(tmp_path: Path, *options: str) -> str:
    """What W&B's own command reads in an offline run."""
    folder = next((tmp_path / "wandb").glob("offline-run-*"))
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.slow
def test_wandb_offline_carries_everything_on_the_axis_of_images(tmp_path: Path) -> None:
    run = books(tmp_path)
    run.log_hyperparams({"model": {"width": 32}, "seed": 7})
    run.log_metrics({"D/adversarial": 1.25}, step=640)
    run.log_metrics({"fid_mnist": 9.5}, step=1280)
    run.log_image("samples", [np.zeros((8, 8, 3), np.uint8)], step=1280)
    run.finalize("success")

    recorded = json.loads(inspected(tmp_path, "--summary"))
    assert recorded["config"] == {"model": {"width": 32}, "seed": 7}
    assert recorded["summary"].items() >= {"D/adversarial": 1.25, "fid_mnist": 9.5, "images": 1280}.items()
    assert recorded["summary"]["samples"]["count"] == 1
    assert recorded["state"] == "finished"


def artifacts(tmp_path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in inspected(tmp_path).splitlines() if '"artifact"' in line]
    return [line["artifact"] for line in lines if "artifact" in line]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"best": 320, "last": 640, "000000640": 640}, [["best"], ["last"]]),
        ({"best": 640, "last": 640}, [["best", "last"]]),  # one version, which has both
        ({"best": 640, "best-pixel": 320, "last": 640}, [["best-pixel"], ["best", "last"]]),
        ({"last": 640, "best": None}, [["last"]]),  # one that can't be read
    ],
)
def test_wandb_has_the_checkpoints_as_versions(
    files: dict[str, int | None], expected: list[Any], tmp_path: Path
) -> None:
    run = books(tmp_path, log_checkpoints=True)
    (tmp_path / "checkpoints").mkdir()
    for name, images in files.items():
        if images is None:
            (tmp_path / "checkpoints" / f"{name}.ckpt").write_bytes(b"damaged")
        else:
            torch.save({"zoo": {"images": images}}, tmp_path / "checkpoints" / f"{name}.ckpt")
    run.log_metrics({"a": 1.0}, step=640)
    run.finalize("success")
    versions = artifacts(tmp_path)
    # W&B adds its own "latest", which becomes that of the newest.
    assert [sorted({*version["aliases"]} - {"latest"}) for version in versions] == expected
    assert {version["type"] for version in versions} == {"model"}
    assert len({version["name"] for version in versions}) == 1


@pytest.mark.slow
def test_wandb_s_summary_is_the_best(tmp_path: Path) -> None:
    """Not the last, of which it holds what does not choose."""
    run = books(tmp_path)
    for images, fid, recall in ((640, 9.5, 0.1), (1280, 11.0, 0.2)):
        run.log_metrics({"fid_mnist": fid, "recall_mnist": recall}, step=images)
        run.summarise({"images": 640, "fid_mnist": 9.5, "recall_mnist": 0.1}, chosen_by="fid_mnist")
    run.finalize("success")
    summary = json.loads(inspected(tmp_path, "--summary"))["summary"]
    best = {"best/images": 640, "best/fid_mnist": 9.5, "best/recall_mnist": 0.1}
    assert summary.items() >= {**best, "fid_mnist": 9.5, "recall_mnist": 0.2, "images": 1280}.items()


def test_wandb_s_names_for_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As given, or by W&B's variables where nothing is; the runs of a sweep are a group."""
    monkeypatch.setenv("WANDB_ENTITY", "of-the-variable")
    monkeypatch.setenv("WANDB_TAGS", "x,y")
    (tmp_path / "multirun.yaml").touch()
    given = books(tmp_path / "0", entity="us", group="g", tags=["a", "b"], notes="long", job_type="train")
    init = given._wandb_init
    assert (init["entity"], init["group"], init["tags"], init["notes"], init["job_type"]) == (
        "us", "g", ["a", "b"], "long", "train"
    )  # fmt: skip
    of_sweep = books(tmp_path / "1", tags=[])
    assert of_sweep._wandb_init["group"] == tmp_path.name
    wandb.teardown()  # it has read its variables once, for the runs before
    run = of_sweep.experiment
    of_sweep.finalize("success")
    assert (run.entity, run.tags, run.group) == ("of-the-variable", ("x", "y"), tmp_path.name)
    wandb.teardown()
    monkeypatch.setenv("WANDB_RUN_GROUP", "of-the-variable")
    assert "group" not in books(tmp_path / "2")._wandb_init
    assert "group" not in books(tmp_path / "0" / "alone")._wandb_init


@pytest.mark.slow
def test_wandb_s_variables_say_what_the_command_line_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(*overrides: str) -> tuple[str, str]:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            composed = hydra.compose("train", list(overrides), return_hydra_config=True)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", composed)
        return composed.logger.wandb.project, composed.logger.wandb.name

    assert named("seed=7") == ("gan-zoo", "dcgan-mnist5k-7")
    monkeypatch.setenv("WANDB_PROJECT", "p")
    monkeypatch.setenv("WANDB_NAME", "m")
    assert named() == ("p", "m")
    assert named("logger.wandb.project=q", "logger.wandb.name=n") == ("q", "n")


@pytest.mark.parametrize("content", [b"", b"\xff\0", b"half an id", b"x" * 5_000])
def test_a_damaged_run_id_begins_a_new_wandb_run(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wandb" / "run-id"
    file.parent.mkdir()
    file.write_bytes(content)
    run = books(tmp_path)
    assert f"W&B: {file} names no run, so a new one begins" in capsys.readouterr().out
    if content:
        return
    run.log_metrics({"a": 1.0}, step=1)
    run.finalize("success")
    again = books(tmp_path)  # the file is whole, and of the new run
    assert again._wandb_init["id"] == file.read_text()
    assert next((tmp_path / "wandb").glob(f"offline-run-*-{file.read_text()}"))


def test_wandb_that_fails_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither when it can't start, nor when its service has gone, whatever it raises."""

    class Gone:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("the service is gone")

    monkeypatch.setattr(wandb, "init", lambda **settings: Gone())
    run = books(tmp_path)
    run.log_hyperparams({"a": 1})
    for step in (1, 2):
        run.log_metrics({"a": 1.0}, step=step)
        run.log_image("samples", [np.zeros((8, 8, 3), np.uint8)], step=step)
    run.alert("title", "text")
    run.finalize("failed")
    said = f"settings in the W&B run in {tmp_path}/wandb could not be written (the service is gone); training goes on"
    assert caplog.messages[0] == said
    assert len(caplog.messages) == len({text.split(" in ")[0] for text in caplog.messages})  # each kind once


@pytest.mark.slow
def test_wandb_offline_keeps_alerts(tmp_path: Path) -> None:
    run = books(tmp_path)
    run.alert("mode collapse", "all images alike at image 640")
    run.finalize("success")
    alerts = [line for line in inspected(tmp_path).splitlines() if '"alert"' in line]
    assert len(alerts) == 1
    assert "mode collapse" in alerts[0]
    assert "all images alike at image 640" in alerts[0]
    assert "WARN" in alerts[0]


def test_without_an_account_it_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb, "login", lambda **kwargs: False)
    run = books(tmp_path)
    run.log_metrics({"a": 1.0}, step=1)
    run.finalize("success")
    said = [text for text in capsys.readouterr().out.splitlines() if "W&B" in text]
    assert len(said) == 1
    assert "no account" in said[0]
    assert "wandb sync" in said[0]


def test_an_unreachable_server_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key is configured, and the server's address refuses connections."""
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    run = books(tmp_path, init_timeout=3)
    run.log_metrics({"a": 1.0}, step=1)
    run.finalize("success")
    assert "offline" in capsys.readouterr().out
    assert list((tmp_path / "wandb").glob("offline-run-*"))
