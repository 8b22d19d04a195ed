"""The command line of train.py: what is typed becomes what Hydra parses, and what goes wrong one sentence."""

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import hydra
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zoo.run.config import CONF, flatten, groups, nearest
from zoo.run.signals import Left, unwinding

NO_MEMORY = re.compile(  # of torch's allocators on CPUs and GPUs, of oneDNN, cuBLAS and the system
    "can't allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc|ALLOC_FAILED|"
    "could not create a (primitive|memory object)|unable to allocate shared memory",
    re.IGNORECASE,
)


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
    arguments = [a for a in _resumed(arguments) if a != "callbacks=default"]  # the only choice that there was
    # torchrun and srun start every rank with the same line, and a user every machine: the first rank has the folder.
    if not first_process():
        folder = [] if _value("hydra.run.dir", arguments) else ["hydra.run.dir=."]
        arguments = [*arguments, *folder, "hydra.output_subdir=null"]
    return arguments


def first_process() -> bool:
    """Whether this is the first of the processes that train together, on the first machine."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"))


def _value(key: str, arguments: list[str]) -> str | None:
    """What the command line gives for a setting, the last of several; None if nothing."""
    return next((a.partition("=")[2].strip("'") for a in reversed(arguments) if a.startswith(f"{key}=")), None)


def _resumed(arguments: list[str]) -> list[str]:
    wanted, folder = _value("resume", arguments), _value("hydra.run.dir", arguments)
    if wanted is None:
        return arguments
    others = [argument for argument in arguments if not argument.startswith(("resume=", "hydra.run.dir="))]
    if wanted == "auto":
        run = _newest_run(others) if folder is None else Path(folder)
        if run is None or not list(run.glob("checkpoints/*.ckpt")):
            print("resume=auto: no earlier run of these settings, so a new one begins", flush=True)
            return [argument for argument in arguments if not argument.startswith("resume=")]
        wanted = str(run)
    start = Path(wanted).expanduser()
    run = start.parent.parent if start.suffix == ".ckpt" else start
    if folder is not None and Path(folder).resolve() != run.resolve():
        raise ValueError(f"resume={run} goes on in that folder: leave out hydra.run.dir={folder}")
    settings = run / ".hydra" / "overrides.yaml"
    if not settings.is_file():
        raise ValueError(f"resume={run} is no run's folder: it has no {settings.relative_to(run)}")
    changed = {argument.lstrip("+~").split("=")[0] for argument in others}
    kept = [str(o) for o in OmegaConf.load(settings) if str(o).lstrip("+~").split("=")[0] not in {*changed, "resume"}]
    code = [override for override in kept if re.search(r"_target_|_partial_|_args_", override)]
    if code:
        raise ValueError(f"{settings} names code to run, {code[0]}: if you trust it, give it on the command line too")
    return [*kept, *others, f"resume='{start}'", f"hydra.run.dir='{run}'"]


def quoted(argument: str) -> str:
    """An argument as Hydra's grammar takes it: `data.root=~/my cats (new)` is `data.root='/home/me/my cats (new)'`.

    Only values that look like paths are touched, since commas, brackets and equal signs mean something elsewhere.
    """
    name, equals, value = argument.partition("=")
    if name.startswith("-") or not value.startswith(("~", "/", "./", "../")):
        return argument
    path = os.path.expanduser(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}{equals}'{path}'" if re.search(r"[^\w/.-]", path) else f"{name}{equals}{path}"


def _newest_run(settings: list[str]) -> Path | None:
    runs = []
    for file in [*Path("outputs").glob("*/*/.hydra/overrides.yaml"), *Path("outputs").glob("sweep/*/*/.hydra/o*.yaml")]:
        overrides = [str(o) for o in OmegaConf.load(file) if not str(o).startswith("resume=")]
        checkpoints = list(file.parent.parent.glob("checkpoints/*.ckpt"))
        if checkpoints and sorted(overrides) == sorted(settings):
            runs.append((max(path.stat().st_mtime for path in checkpoints), file.parent.parent))
    return max(runs)[1] if runs else None


@contextmanager
def readable_errors(
    command: str = "train.py", interrupted: str = " before the first image: nothing was saved"
) -> Iterator[None]:
    """Say in one sentence what is wrong with a command line, or with a file that it names, and leave with status 2.

    That goes for errors of Hydra's, of the system's and for every ValueError that this project raises; others keep
    their traceback, and HYDRA_FULL_ERROR=1 keeps all. A signal, where nothing else has it, ends the process with
    status 128 plus its number and the words `interrupted`.
    """
    wanted = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra ends the process before the error gets here
    try:
        with unwinding():
            yield
    except Left as left:
        if first_process():
            _complain(f"{command}: {signal.Signals(left.number).name}, interrupted{left.said or interrupted}")
        sys.exit(left.code)
    except Exception as error:
        sentence = None if wanted == "1" else _sentence(error)
        if sentence is None:
            raise
        _complain(f"{command}: {sentence}")
        sys.exit(2)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = wanted


def _complain(sentence: str) -> None:
    with suppress(OSError):  # a terminal that is gone
        print(sentence, file=sys.stderr, flush=True)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the machine or of a GPU, is used up."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return "OutOfMemory" in type(error).__name__ or bool(NO_MEMORY.search(str(error)))


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
    if isinstance(error, HydraException | OmegaConfBaseException):
        return re.sub(r"\s+", " ", str(error) or str(error.__cause__))
    if out_of_memory(error):
        why = (str(error) or type(error).__name__).splitlines()[0]
        return f"out of memory: lower data.batch_size, data.image_size or model.width ({why})"
    if isinstance(error, OSError) and error.errno is not None:  # a full disk, a folder that can't be written to
        room = "; make room, or give another place" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{error.filename or 'a file could not be written'}: {error.strerror}{room}"
    if "DataLoader worker (pid" in str(error):
        return (
            f"a process that reads data has ended ({str(error).splitlines()[0].rstrip('. ')}), for want of memory, if "
            "nobody has killed it: lower data.num_workers or data.batch_size; resume=RUN goes on"
        )
    if isinstance(error, RuntimeError) and "Error(s) in loading state_dict" in str(error):
        first = str(error).splitlines()[1].strip()
        return f"the checkpoint is of another model than these settings make, {first} (resume=RUN alone keeps them)"
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
