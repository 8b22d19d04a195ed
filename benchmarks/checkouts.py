"""Other people's repositories, as they lie on this disk: their modules and scripts, imported as they are.

Nothing of theirs is a part of this project, and nothing of it is written to. Modules of several repositories have the
same names (`model`, `train`, `utils`), and one has a name of ours: each is imported with its own folder first, and is
then nobody's module but who holds it. What a repository imports for files, charts and metrics, and this machine may
lack, is stood in for by a module whose every name fails when it is used.
"""

import ast
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any


class _Lacking(ModuleType):
    """A module that is not installed; so are its submodules and all of its names."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def fails(*_: Any, **__: Any) -> None:
            raise RuntimeError(f"{self.__name__}.{name} is used, and {self.__name__} is not installed")

        return fails


class _LackingFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what nobody else has found, of these packages."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        known = name.partition(".")[0] in self.packages
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Lacking(spec.name)  # a package, by its specification: it has submodules

    def exec_module(self, module: ModuleType) -> None:
        pass


@dataclass(frozen=True)
class Repository:
    """Where a peer's code is published, and the flag that says where it lies."""

    flag: str
    url: str
    dispensable: tuple[str, ...] = ()  # packages that it imports, and that no step needs


@dataclass(frozen=True)
class Checkout:
    """A peer's code on this disk.

    Raises:
        ValueError: in one sentence, if it is not there, if a file is missing in it, or if it can't be imported.
    """

    repository: Repository
    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            raise ValueError(f"{self}: there is no such folder; git clone {self.repository.url} {self.path}")

    def __str__(self) -> str:
        return f"--{self.repository.flag} {self.path}"

    def file(self, name: str) -> Path:
        found = self.path / name
        if not found.is_file():
            raise ValueError(f"{self}: it has no {name}; a checkout of {self.repository.url} has")
        return found

    @property
    def commit(self) -> str:
        """Of what is checked out, with a + where files were changed since."""

        def git(*words: str) -> str:
            asked = subprocess.run(["git", "-C", str(self.path), *words], capture_output=True, text=True)
            return asked.stdout.strip() if asked.returncode == 0 else ""

        if not (top := git("rev-parse", "--show-toplevel")) or Path(top).resolve() != self.path.resolve():
            return "no commit"  # a copy; in another repository, it may be
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")

    @contextlib.contextmanager
    def importing(self) -> Iterator[None]:
        """Imports are of this folder first; afterwards they are as before."""
        finder, own = _LackingFinder(self.repository.dispensable), {path.stem for path in self.path.iterdir()}
        before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in own}
        for name in before:
            del sys.modules[name]
        sys.path.insert(0, str(self.path))
        sys.meta_path.append(finder)
        importlib.invalidate_caches()
        try:
            yield
        except ModuleNotFoundError as error:
            raise ValueError(f"{self}: it imports {error.name}, which is not installed here") from error
        finally:
            sys.meta_path.remove(finder)
            sys.path.remove(str(self.path))
            for name, module in list(sys.modules.items()):
                if name.partition(".")[0] in own or isinstance(module, _Lacking):
                    del sys.modules[name]
            sys.modules |= before

    def module(self, name: str, *, edit: ast.NodeTransformer | None = None) -> ModuleType:
        """Its module of that name, "models.networks"; with `edit`, which may change what is read, and not what lies on
        the disk, it is read alone, without the package that it is in."""
        file = self.file(name.replace(".", "/") + ".py")
        with self.importing():
            if edit is None:
                return importlib.import_module(name)
            module = ModuleType(name)
            module.__file__ = str(file)
            tree = ast.fix_missing_locations(edit.visit(ast.parse(file.read_text(encoding="utf-8"))))
            exec(compile(tree, str(file), "exec"), module.__dict__)
            return module
