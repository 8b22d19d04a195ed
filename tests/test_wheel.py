"""The wheel is the whole product: built, installed into a fresh environment, and used with no clone in reach."""

import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from common import ROOT
from packaging.requirements import Requirement

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("uv") is None, reason="uv builds the wheel: pip install uv"),
]
FAST = [
    *("data=digits", "data.image_size=16", "model.width=4", "data.batch_size=16", "logger=csv", "max_images=64"),
]
MEASURED = ["metrics.num_fake=20", "metrics.num_real=30"]


class Installed(NamedTuple):
    wheel: Path
    folder: Path  # of the environment
    home: Path  # where commands are typed: nothing of a clone is there

    def __call__(self, line: str, *, status: int = 0) -> str:
        """What a command line says on both streams."""
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "TMPDIR", "LANG") or k.startswith("OMP_")}
        environment = kept | {
            "PATH": f"{self.folder / 'bin'}:{kept['PATH']}",
            "HOME": str(self.home),
            "ZOO_CACHE": str(self.home / "cache"),
            "WANDB_MODE": "offline",
        }
        result = subprocess.run(
            shlex.split(line), cwd=self.home, env=environment, text=True, timeout=280,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert result.returncode == status, result.stdout
        return result.stdout


def dependencies(package: metadata.Distribution) -> dict[str, metadata.Distribution]:
    """What the package's own dependencies, its extras left out, bring: of this environment, by name."""
    brought: dict[str, metadata.Distribution] = {}
    waiting: list[tuple[metadata.Distribution, set[str]]] = [(package, set())]
    while waiting:
        of, extras = waiting.pop()
        for need in map(Requirement, of.requires or []):
            if need.marker and not any(need.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                continue
            if need.name not in brought or need.extras:
                brought[need.name] = metadata.distribution(need.name)
                waiting.append((brought[need.name], need.extras))
    return brought


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel alone, and of the libraries of this environment those that it asks for: nothing of the clone."""
    top = tmp_path_factory.mktemp("wheel")
    home = top / "home"
    home.mkdir()
    subprocess.run(["uv", "build", "--wheel", "--out-dir", top / "dist", ROOT], check=True, capture_output=True)
    (wheel,) = (top / "dist").glob("*.whl")
    subprocess.run(["uv", "venv", "--python", sys.executable, top / "env"], check=True, capture_output=True)
    python = top / "env" / "bin" / "python"
    subprocess.run(
        ["uv", "pip", "install", "--python", python, "--no-deps", wheel], check=True, capture_output=True, cwd=home
    )
    (packages,) = (top / "env" / "lib").glob("python*/site-packages")
    (info,) = packages.glob("gan_zoo-*.dist-info")
    for library in dependencies(metadata.Distribution.at(info)).values():  # gigabytes, which need not be copied
        for name in {file.parts[0] for file in library.files or ()} - {"..", "__pycache__"}:
            if not (packages / name).exists():
                (packages / name).symlink_to(library.locate_file(name))
    return Installed(wheel, top / "env", home)


def test_it_carries_all_that_the_package_reads(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = set(archive.namelist())
        for folder in (ROOT / "conf", ROOT / "zoo"):
            files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
            inside = "zoo/conf" if folder.name == "conf" else "zoo"
            for path in files:
                name = f"{inside}/{path.relative_to(folder).as_posix()}"
                assert name in names
                assert archive.read(name) == path.read_bytes()
        assert {name.split("/")[0].split("-")[0] for name in names} == {"zoo", "gan_zoo"}
        assert any(name.endswith("licenses/LICENSE") for name in names)
        assert any(name.endswith("licenses/zoo/data/pixels/README.md") for name in names)


def test_nothing_of_the_clone_is_in_reach(installed: Installed) -> None:
    said = installed("python -c 'import zoo, zoo.run; print(zoo.__file__); print(zoo.run.CONF)'").splitlines()
    assert all(Path(line).is_relative_to(installed.folder) for line in said)
    names = ["train", "common", "conf", "scipy", "sklearn", "skimage", "mlxtend", "pandas", "tensorboard"]
    code = f"from importlib.util import find_spec; print([name for name in {names} if find_spec(name)])"
    assert installed(f'python -c "{code}"') == "[]\n"
    assert str(ROOT) not in installed("python -c 'import sys; print(sys.path)'")
    version = metadata.version("gan-zoo")
    assert installed("python -m zoo --version").startswith(f"gan-zoo {version}, ")
    assert installed("python -c 'import zoo; print(zoo.__version__)'") == f"{version}\n"


def test_it_lists_trains_resumes_samples_and_evaluates(installed: Installed) -> None:
    listed = installed("zoo list")
    assert "  mnist5k " in listed
    assert "example: zoo train model=vanilla" in listed
    assert "train.py" not in listed
    said = installed(f"zoo train {shlex.join([*FAST, *MEASURED])} trainer=cpu")
    (run,) = (installed.home / "outputs").glob("dcgan-digits/*")
    name = run.relative_to(installed.home)
    assert f"zoo sample {name} -n 64" in said
    assert "zoo train model=dcgan data=folder" in said
    (run / "report.html").unlink()
    installed(f"zoo report {name}")
    assert "zoo train data=digits" in (run / "report.html").read_text()
    assert "    zoo train data=digits" in (run / "report.md").read_text()
    assert "96 of 96 images" in installed(f"zoo train resume={name} max_images=96")
    assert "9 images" in installed(f"zoo sample {name} -n 9 -o grid.png")
    assert "fid_mnist" in installed(f"zoo evaluate {name}")
    assert "finished" in installed("zoo runs outputs")
    assert "python train.py" not in installed(f"zoo publish {name} -o published --license cc0-1.0")
    assert "zoo train " in (installed.home / "published" / "README.md").read_text()
    installed("zoo sample published -n 4 -o of_folder.png")
    settings = [*FAST, "metrics=none"]
    installed(f'python -c "import zoo; print(zoo.load(zoo.train(*{settings}).folder).sample(2).shape)"')


def test_every_embedded_set_and_its_metrics(installed: Installed) -> None:
    code = """
from hydra.utils import instantiate
from zoo.run.config import compose
for name in ("mnist5k", "digits", "colour_digits", "masked_digits", "one_class_digits", "photos", "scenes"):
    cfg = compose(f"data={name}", "run_dir=x", "logger=none", *(["model=cyclegan"] if "ed_digits" in name else []))
    data = instantiate(cfg.data, _convert_="all")
    print(data.description)
from zoo.data.reading import read_picture
print(read_picture("ihc", 3).shape)
"""
    assert "(3, 512, 512)" in installed(f"python -c {shlex.quote(code)}")


def test_several_processes_are_started_by_the_same_line(installed: Installed) -> None:
    fast = shlex.join([*FAST, "metrics=none"])
    installed(f"zoo train {fast} trainer=ddp_cpu trainer.devices=2 hydra.run.dir=two")
    assert "2 x cpu" in (installed.home / "two" / "report.md").read_text()
    torchrun = "python -m torch.distributed.run --standalone --nproc-per-node 2 --no-python"
    installed(f"{torchrun} zoo train {fast} trainer=ddp_cpu trainer.devices=2 hydra.run.dir=three")
    assert "2 x cpu" in (installed.home / "three" / "report.md").read_text()
    installed("zoo train resume=two max_images=96")


def test_a_sweep_ends_with_its_table(installed: Installed) -> None:
    said = installed(f"zoo train -m {shlex.join(FAST)} metrics=none trainer=cpu seed=1,2 hydra.sweep.dir=sweep")
    assert "once more: zoo runs sweep" in said


def test_what_is_wrong_is_a_sentence(installed: Installed) -> None:
    assert installed("zoo train modl=dcgan", status=2) == "zoo train: there is no setting 'modl'; did you mean model?\n"
    assert installed("zoo train logger=tensorboard max_images=64 metrics=none", status=2).count("\n") <= 6
    installed("zoo export dcgan-mnist5k -o a.onnx", status=2)


COMPLETE = """
source <(_ZOO_COMPLETE=source_bash zoo)
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _zoo_completion zoo; echo "${COMPREPLY[@]}"; }
ask zoo trai
ask zoo train model = dc
ask zoo train loss =
ask zoo sample vanil
ask zoo sample nowhere/
"""


def test_bash_completes_what_is_installed(installed: Installed) -> None:
    (installed.home / "complete.sh").write_text(COMPLETE)
    assert installed("bash --norc complete.sh").splitlines() == [
        "train",
        "dcgan",
        "hinge least_squares minimax non_saturating relativistic_pairing wasserstein",
        "vanilla-mnist5k",
        "",
    ]
