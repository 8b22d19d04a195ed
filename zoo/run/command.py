"""The command line of train.py: what is typed becomes what Hydra parses, and what goes wrong one sentence."""

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from zoo.run.config import groups
from zoo.run.grammar import overrides, value_of
from zoo.run.hints import exists, no_choice, no_setting
from zoo.run.resume import resumed
from zoo.run.signals import Left, unwinding
from zoo.text import printable

PLUGINS = {  # of Hydra's, which are installed one by one: what is chosen, and the package that has it
    ("hydra/sweeper", "optuna"): "hydra-optuna-sweeper",
    ("hydra/sweeper", "ax"): "hydra-ax-sweeper",
    ("hydra/sweeper", "nevergrad"): "hydra-nevergrad-sweeper",
    ("hydra/launcher", "submitit_slurm"): "hydra-submitit-launcher",
    ("hydra/launcher", "submitit_local"): "hydra-submitit-launcher",
    ("hydra/launcher", "joblib"): "hydra-joblib-launcher",
    ("hydra/launcher", "ray"): "hydra-ray-launcher",
    ("hydra/launcher", "ray_aws"): "hydra-ray-launcher",
    ("hydra/launcher", "rq"): "hydra-rq-launcher",
    ("hydra/hydra_logging", "colorlog"): "hydra-colorlog",
    ("hydra/job_logging", "colorlog"): "hydra-colorlog",
}
NO_MEMORY = re.compile(  # of torch's allocators on CPUs and GPUs, of oneDNN, cuBLAS and the system
    "can't allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc|ALLOC_FAILED|"
    "could not create a (primitive|memory object)|unable to allocate shared memory",
    re.IGNORECASE,
)


class Said(ValueError):
    """What was wrong, and has been said."""


def _returned(job: JobReturn) -> Any:
    """What a job of Hydra's returns, or raises: without a line about its overrides before the sentence."""
    if job.status is JobStatus.FAILED:
        raise job._return_value
    return job._return_value


JobReturn.return_value = JobReturn.return_value.getter(_returned)  # type: ignore[attr-defined, method-assign]


def command_line(arguments: list[str]) -> list[str]:
    """What Hydra shall parse: `resume=` turned into that run's settings and folder, and one folder for all ranks.

    `resume=RUN` repeats the settings of RUN (its .hydra/overrides.yaml), with those given beside it in their place.
    `resume=auto` is the newest run with the same settings, or a new run if there is none.

    Raises:
        ValueError: if RUN is no run's folder; for a word that is no setting.
    """
    arguments = _one_folder(overrides(arguments))
    if int(os.environ.get("LOCAL_RANK", 0)) > 0 and "hydra.output_subdir=null" in arguments:  # started by Lightning
        return arguments
    arguments = [a for a in resumed(arguments) if a != "callbacks=default"]  # the only choice that there was
    # torchrun and srun start every rank with the same line, and a user every machine: the first rank has the folder.
    if not first_process():
        folder = [] if value_of("hydra.run.dir", arguments) else ["hydra.run.dir=."]
        arguments = [*arguments, *folder, "hydra.output_subdir=null"]
    return arguments


def _one_folder(arguments: list[str]) -> list[str]:
    """`run_dir=FOLDER` of a single run as Hydra's own setting, so that what Hydra writes lies there too."""
    if not {"-m", "--multirun"}.isdisjoint(arguments) or value_of("hydra.run.dir", arguments) is not None:
        return arguments
    return [f"hydra.{a.replace('_', '.', 1)}" if a.startswith("run_dir=") else a for a in arguments]


def first_process() -> bool:
    """Whether this is the first of the processes that train together, on the first machine."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"))


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
    except Said:
        sys.exit(2)
    except Exception as error:
        words = None if wanted == "1" else sentence(error, sys.argv[1:])
        if words is None:
            raise
        _complain(f"{command}: {words}")
        sys.exit(2)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = wanted


def _complain(sentence: str) -> None:
    with suppress(OSError):  # a terminal that is gone
        print(printable(sentence), file=sys.stderr, flush=True)  # what it quotes may be a stranger's


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the machine or of a GPU, is used up."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return "OutOfMemory" in type(error).__name__ or bool(NO_MEMORY.search(str(error)))


def sentence(error: BaseException, typed: Sequence[str]) -> str | None:
    """What went wrong with a command line, in one sentence; None for what can only be a bug, which needs its traceback.

    Args:
        error: what was raised.
        typed: the command line.
    """
    if isinstance(error, MissingConfigException | ConfigCompositionException):
        return _of_composition(error, typed)
    while isinstance(error, InstantiationException) and error.__cause__:  # raised by what Hydra built
        where, cause = str(error).rsplit("full_key: ", 1)[-1], error.__cause__
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(cause))
        if isinstance(cause, TypeError) and unknown:  # +model.widht=3, or a group that this model does not have
            name = f"{where}.{unknown[1]}"
            return f"{where}._target_: it takes no {name}=" if exists(name) else no_setting(name, typed=typed)
        if not isinstance(cause, InstantiationException) and _raised_in(cause, Path(hydra.__file__).parent):
            return f"{where}: {_first_line(cause)}"  # no such class, or arguments that it does not take
        error = cause
    if type(error).__name__ == "MisconfigurationException":  # Lightning's: no such device, say
        return f"{str(error).strip().splitlines()[0]} (trainer=cpu or trainer=auto always work)"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"{mark.name} is no YAML: {error.problem or error.context}, in line {mark.line + 1}"
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key}: {_first_line(error)}" if error.full_key else _first_line(error)
    if isinstance(error, RecursionError) and any("defaults_list" in f.filename for f in _frames(error)):
        return "the defaults of a configuration choose that configuration again: extend another, - NAME"
    if isinstance(error, HydraException) and "BasicSweeper does not support" in str(error):
        return "an interval needs a sweeper that searches, hydra/sweeper=optuna; choice(1,2) or 1,2 is a list of values"
    if isinstance(error, HydraException):
        return _first_line(error)
    if isinstance(error, AttributeError) and (key := re.search(r"full_key: (hydra\.\S+)", str(error))):
        return f"{key[1]} can't be set like this: {_first_line(error)}"  # OmegaConf, of a setting of Hydra's
    if out_of_memory(error):
        why = (str(error) or type(error).__name__).splitlines()[0]
        return f"out of memory: lower data.batch_size, data.image_size or model.width ({why})"
    if isinstance(error, OSError) and error.errno is not None:  # a full disk, a folder that can't be written to
        name, remedy = error.filename or "a file could not be written", ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "; make room, or give another place"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and not os.path.exists(name):  # it was to be made
            of_sweep = not {"-m", "--multirun"}.isdisjoint(typed)
            remedy = f"; give another place, hydra.{'sweep' if of_sweep else 'run'}.dir=FOLDER"
        return f"{name}: {error.strerror}{remedy}"
    if isinstance(error, ImportError) and "tensorboardX" in str(error):
        return "logger=tensorboard needs tensorboard, which is not installed here: pip install 'gan-zoo[tensorboard]'"
    if isinstance(error, ImportError) and re.search("to be installed|not installed|pip install", str(error)):
        return _first_line(error)  # Lightning's, of a package that something chosen needs
    if "DataLoader worker (pid" in str(error):
        return (
            f"a process that reads data has ended ({str(error).splitlines()[0].rstrip('. ')}), for want of memory, if "
            "nobody has killed it: lower data.num_workers or data.batch_size; resume=RUN goes on"
        )
    if "InvalidCxxCompiler" in str(error):
        return "compile= needs a C++ compiler, and there is none here: install one (g++), or go on without it"
    raised_here = _raised_in(error, Path(__file__).parents[1]) or type(error).__module__.startswith("zoo.")
    if isinstance(error, ValueError | FloatingPointError) and raised_here:
        text = str(error).strip()
        if "Traceback (most recent call last)" not in text:
            return " ".join(line.strip() for line in text.splitlines())
        return text.splitlines()[-1].removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")  # of a worker
    return None


def _of_composition(error: MissingConfigException | ConfigCompositionException, typed: Sequence[str]) -> str:
    """What Hydra could not compose; its own advice, to add what it does not know by +, is seldom what was meant."""
    text = str(error) or str(error.__cause__)
    missing = re.search(r"Could not find '((?:hydra/)?\w+)/(.+?)'", text)
    if isinstance(error, MissingConfigException) and missing:  # model=dcgann
        if words := _not_installed(missing[1], missing[2]):
            return words
        return no_choice(missing[1], missing[2], error.options)
    unknown = partial(no_setting, typed=typed)
    sentences: dict[str, Callable[[str, str], str]] = {
        r"Could not load '(hydra/\w+)/(\w+)'": lambda group, name: _not_installed(group, name) or _first_line(error),
        r"Could not override '([^']+).*?(?:use \+\S*?=(.*))?$": unknown,  # model.latentdim=3
        r"Could not delete\D* '([^']+)": unknown,
        r"Override \+*(\S+?)(?:=(\S*))? looks like a config group": unknown,
        r"already at '(.+?)'|No need to append to .*?'(\S+?)[=']": lambda a, b: f"{a or b} is there: leave out its +",
        r"Ambiguous value for argument '(.+?)=(.*?)'\n": lambda a, b: (
            f"{a}={b} are several values: -m tries one after the other"
            + ("" if a in groups() else f"; {a}=[{b}] is a list, \"{a}='{b}'\" one text")
        ),
        r"Sweep parameters '(.*?)' requires (.*)": lambda a, b: f"{a} are several values, which need -m",
        r"force-add of config groups is not supported: '\++(.*?)(')": lambda a, b: f"write {a}, without its +",
        r"^(?:Multiple values for )?(\S+?)(?: appears more than once|\. To override a)()": lambda a, b: (
            f"{a} is there: leave out its +"
        ),
        r"Error merging override (.+)()": lambda a, b: f"{a} does not fit: {_first_line(error.__cause__ or error)}",
    }
    for pattern, says in sentences.items():
        if found := re.search(pattern, text, re.DOTALL):
            return says(*(group or "" for group in (*found.groups(), "")[:2]))
    return _first_line(error if str(error) else error.__cause__ or error)


def _not_installed(group: str, name: str) -> str | None:
    package = PLUGINS.get((group, name))
    return f"{group}={name} is in a package of its own: pip install {package}" if package else None


def _first_line(error: BaseException) -> str:
    """What an error of a library's says, without where it looked and what to set to see more of it."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line.removesuffix(", set env var HYDRA_FULL_ERROR=1 to see chained exception:").strip(" :")


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(error.__traceback__))


def _raised_in(error: BaseException, folder: Path) -> bool:
    """Whether it was raised by a file in a folder."""
    frames = _frames(error)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(folder)
