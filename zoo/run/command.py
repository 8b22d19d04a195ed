"""The command line of train.py: what is typed becomes what Hydra parses, and what goes wrong one sentence."""

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zoo.run.config import CONF, flatten, groups, nearest
from zoo.run.resume import resumed, value_of


def command_line(arguments: list[str]) -> list[str]:
    """What Hydra shall parse: `resume=` turned into that run's settings and folder, and one folder for all ranks.

    `resume=RUN` repeats the settings of RUN (its .hydra/overrides.yaml), with those given beside it in their place.
    `resume=auto` is the newest run with the same settings, or a new run if there is none.

    Raises:
        ValueError: if RUN is no run's folder.
    """
    arguments = [quoted(argument) for argument in arguments]
    if int(os.environ.get("LOCAL_RANK", 0)) > 0 and "hydra.output_subdir=null" in arguments:  # started by Lightning
        return arguments
    arguments = [a for a in resumed(arguments) if a != "callbacks=default"]  # the only choice that there was
    # torchrun and srun start every rank with the same line, and a user every machine: the first rank has the folder.
    if not first_process():
        folder = [] if value_of("hydra.run.dir", arguments) else ["hydra.run.dir=."]
        arguments = [*arguments, *folder, "hydra.output_subdir=null"]
    return arguments


def first_process() -> bool:
    """Whether this is the first of the processes that train together, on the first machine."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"))


def quoted(argument: str) -> str:
    """An argument as Hydra's grammar takes it: `data.root=~/my cats (new)` is `data.root='/home/me/my cats (new)'`.

    Only values that look like paths are touched, since commas, brackets and equal signs mean something elsewhere.
    """
    name, equals, value = argument.partition("=")
    if name.startswith("-") or not value.startswith(("~", "/", "./", "../")):
        return argument
    path = os.path.expanduser(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}{equals}'{path}'" if re.search(r"[^\w/.-]", path) else f"{name}{equals}{path}"


@contextmanager
def readable_errors(command: str = "train.py") -> Iterator[None]:
    """Say in one sentence what is wrong with a command line, or with a file that it names, and leave with status 2.

    That goes for errors of Hydra's and for every ValueError that this project raises; others keep their traceback,
    and HYDRA_FULL_ERROR=1 keeps all.
    """
    wanted = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra ends the process before the error gets here
    try:
        yield
    except Exception as error:
        sentence = None if wanted == "1" else _sentence(error)
        if sentence is None:
            raise
        print(f"{command}: {sentence}", file=sys.stderr)
        sys.exit(2)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = wanted


def _sentence(error: BaseException) -> str | None:
    missing = re.search(r"Could not find '(\w+)/(.+)'", str(error))
    if isinstance(error, MissingConfigException) and missing:  # model=dcgann
        return f"there is no {missing[1]}={missing[2]}; {nearest(missing[2], error.options or [])}"
    typo = re.match(r"Could not override '([^'@]+)", str(error))
    if isinstance(error, ConfigCompositionException) and typo:  # model.latentdim=3
        return _no_setting(typo[1])
    while isinstance(error, InstantiationException) and error.__cause__:  # raised by what Hydra built
        where = str(error).rsplit("full_key: ", 1)[-1]
        error = error.__cause__
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if isinstance(error, TypeError) and unknown:  # +model.widht=3, or a group that this model does not have
            return _no_setting(f"{where}.{unknown[1]}")
    if type(error).__name__ == "MisconfigurationException":  # Lightning's: no such device, say
        return f"{str(error).strip().splitlines()[0]} (trainer=cpu or trainer=auto always work)"
    if isinstance(error, PermissionError):
        return f"{error.filename}: permission denied"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return re.sub(r"\s+", " ", str(error) or str(error.__cause__))
    if "OutOfMemory" in type(error).__name__ or "can't allocate memory" in str(error):
        return f"out of memory: lower data.batch_size, data.image_size or model.width ({str(error).splitlines()[0]})"
    if "InvalidCxxCompiler" in str(error):
        return "compile=true needs a C++ compiler, and there is none here: install one (g++), or go on without compile="
    frames = traceback.extract_tb(error.__traceback__)
    of_zoo = type(error).__module__.startswith("zoo.")
    raised_here = bool(frames) and Path(frames[-1].filename).is_relative_to(Path(__file__).parents[1])
    if isinstance(error, ValueError | FloatingPointError) and (of_zoo or raised_here):
        return str(error).strip().splitlines()[-1].removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")
    return None


def _no_setting(name: str) -> str:
    """The sentence about a setting that the groups which the command line chose do not have."""
    chosen = [a for a in sys.argv[1:] if a.split("=")[0] in groups() and "," not in a]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra.compose("train", chosen, return_hydra_config=True)
    model = composed.hydra.runtime.choices.model
    settings = flatten(OmegaConf.to_container(composed))  # type: ignore[arg-type]
    outer = name.rpartition(".")[0]
    if outer in settings and settings[outer] is None:
        return f"there is no setting {name!r}: {outer} is null with model={model}, which takes none"
    names = [key for key in settings if not key.startswith("hydra")]
    return f"there is no setting {name!r}; {nearest(name, [*names, *groups()])}"
