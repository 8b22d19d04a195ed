"""Strangers' files as plain data: nothing that a file names is imported, called or built.

A pickle is a program for a small machine, whose instructions may call any function of Python. The machine here
(`_Machine`) takes the same instructions, which `pickletools` parses, and knows by name what makes data: tensors,
storages, parameters, numpy's arrays, and containers. A call of anything else is written down and not made: the result
is a `Stand` with the name, the arguments and the state. What can have no meaning in a file of weights but to run
something (os.system, eval, getattr) is refused by its name.

Containers of bytes: zip archives of torch.save (since 1.6), its older format (a magic number, the object, then the
storages), plain pickles of protocols 0 to 5, whose storages are files of torch.save themselves, and safetensors.

What a file claims is held against what it has: sizes, offsets, the depth of its nesting and the number of its
instructions are bounded, so that a small one can't fill the memory nor hang the program.
"""

import io
import math
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from zoo.text import printable, shortened
from zoo.torchfile import Damaged, check_archive

INSTRUCTIONS = 5_000_000  # of one pickle: a checkpoint with its optimizers has some ten thousand
DEPTH = 200  # of nesting
NESTED = 3  # files of torch.save within pickles, within each other
MAGIC = 0x1950A86A20F9469CFC6C  # at the beginning of files that torch.save wrote before 1.6
PROTOCOL = 1001  # what follows it


@dataclass(eq=False)
class Stand:
    """An object of a class that is not known here, as its file describes it, or a call that was not made.

    Attributes:
        name: "module.Class", or the function's.
        args, kwargs: what it was to be called with.
        state: what was to become its attributes, a dict as a rule.
        items, entries: what was to be put into it, where it is a kind of dict or list.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[Any, Any] = field(default_factory=dict)
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    entries: list[Any] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<{printable(self.name)}>"


@dataclass(frozen=True)
class Named:
    """A class or a function that a file names, which is not looked up."""

    name: str


class Refused(Exception):
    """What a file asks for that data never needs, as the end of a sentence."""


class _Budget:
    """How much a file may make the machine do: a few bytes repeated can't ask for more."""

    def __init__(self, size: int) -> None:
        self.instructions = INSTRUCTIONS
        self.copied = 4 * size + 2**20  # bytes; nothing that torch or numpy wrote needs more than one copy
        self.viewed = 64 * size + 2**20  # bytes of all tensors: several may share a storage

    def copy(self, n: int) -> None:
        self.copied -= n
        if self.copied < 0:
            raise Damaged("its contents are larger than the file")

    def view(self, n: int) -> None:
        self.viewed -= n
        if self.viewed < 0:
            raise Damaged("its tensors together are larger than the file")

    def step(self) -> None:
        self.instructions -= 1
        if self.instructions < 0:
            raise Damaged(f"it has more than {INSTRUCTIONS:,} instructions, which no checkpoint needs")


def read(path: Path) -> Any:
    """A stranger's file: dicts, lists, tuples, numbers, strings, tensors (on the CPU), numpy arrays, `Stand`s, `Named`.

    Ordered dicts and default dicts are dicts; a parameter is its tensor.

    Raises:
        ValueError: if it can't be read, is damaged or truncated, claims more than it holds, or asks for what only an
            attack would.
    """
    if not path.is_file():  # a pipe would wait for ever
        raise ValueError(f"{path} can't be read: {'no file' if path.exists() else 'there is no such file'}")
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            tree = _read(file, size, _Budget(size), nested=0)
            _check_depth(tree)
            return tree
    except Refused as error:
        raise ValueError(f"{path} is refused: {error}") from None
    except Damaged as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror or 'no file of weights'}") from None
    except Exception:  # foreign bytes make whatever they happen to spell
        raise ValueError(f"{path} can't be read: truncated, or no file of weights") from None


def tensors(node: Any) -> dict[str, Tensor] | None:
    """The weights by name of a state dict or of a pickled network, without the "module." of DataParallel and without
    the "_orig_mod." of torch.compile; None where the node is neither."""
    if isinstance(node, Stand):
        node = _state_dict(node)
    if not isinstance(node, dict):
        return None
    found = {name: value for name, value in node.items() if isinstance(name, str) and isinstance(value, Tensor)}
    for prefix in ("module.", "_orig_mod.", "module."):
        if found and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found or None


def attributes(node: Any) -> dict[Any, Any]:
    """What is known of an object by name: a dict, the attributes of a stand-in, its items; {} for anything else."""
    if isinstance(node, Stand):
        return {**(node.state if isinstance(node.state, dict) else {}), **node.items}
    return node if isinstance(node, dict) else {}


def _state_dict(network: Stand) -> dict[str, Any]:
    """The parameters and buffers of a pickled nn.Module, as its state_dict() names them."""
    found: dict[str, Any] = {}
    todo, seen = [("", network)], {id(network)}
    while todo:
        prefix, module = todo.pop()
        held = attributes(module)
        for kind in ("_parameters", "_buffers"):
            found |= {f"{prefix}{name}": value for name, value in attributes(held.get(kind)).items()}
        for name, child in attributes(held.get("_modules")).items():
            if isinstance(child, Stand) and id(child) not in seen:
                seen.add(id(child))
                todo.append((f"{prefix}{name}.", child))
    return found


def _check_depth(tree: Any) -> None:
    """Level by level, each object once: what has a loop in it or comes many times ends as well."""
    level, seen = [tree], {id(tree)}
    for _ in range(DEPTH):
        below: list[Any] = []
        for node in level:
            for child in _children(node):
                if isinstance(child, (dict, list, tuple, set, frozenset, Stand)) and id(child) not in seen:
                    seen.add(id(child))
                    below.append(child)
        if not below:
            return
        level = below
    raise Damaged(f"it is nested deeper than {DEPTH} levels")


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return node.values()
    if isinstance(node, Stand):
        return [node.args, node.kwargs, node.state, node.items, node.entries]
    return node if isinstance(node, (list, tuple, set, frozenset)) else ()


# Containers of bytes


class _Window:
    """A binary file that reads no more than is left of it, whatever is asked for: a length that a file claims is then
    no reason to allocate it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.left = file, size, size

    def read(self, n: int) -> bytes:
        found = self.file.read(max(min(n, self.left), 0))
        self.left -= len(found)
        return found

    def readline(self) -> bytes:
        found = self.file.readline()
        self.left -= len(found)
        return found

    def fill(self, tensor: Tensor) -> None:
        """Read into a tensor of bytes."""
        if len(tensor) and self.file.readinto(memoryview(tensor.numpy())) != len(tensor):  # type: ignore[attr-defined]
            raise EOFError
        self.left -= len(tensor)


def _read(file: BinaryIO, size: int, budget: _Budget, *, nested: int) -> Any:
    start = file.read(16)
    file.seek(0)
    if start[:4] == b"PK\x03\x04" or zipfile.is_zipfile(file):
        file.seek(0)
        return _of_zip(file, size, budget, nested)
    file.seek(0)
    if start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= size - 8:
        return _of_safetensors(file)
    header = file.read(512)
    file.seek(0)
    if header[257:262] == b"ustar":
        raise Refused("it is a tar archive, of torch before 0.2 or of something else; unpack it, or save it anew")
    window = _Window(file, size)
    tree = _Machine(budget, nested).run(window)
    return _of_legacy(window, budget, nested) if isinstance(tree, int) and tree == MAGIC else tree


def _of_safetensors(file: BinaryIO) -> dict[str, Tensor]:
    from safetensors.torch import load

    return load(file.read())


def _of_zip(file: BinaryIO, size: int, budget: _Budget, nested: int) -> Any:
    """What torch.save has written since 1.6: data.pkl in a folder, and a member for each storage."""
    if not zipfile.is_zipfile(file):
        raise Damaged("it is a truncated archive")
    check_archive(file, size)
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise Damaged("members of its archive have the same name")
        found = [name for name in names if name.split("/", 1)[-1] == "data.pkl"]
        if len(found) != 1:
            raise Refused("it is an archive, but not of torch.save")
        folder = found[0].removesuffix("data.pkl")
        if f"{folder}constants.pkl" in names:
            raise Refused("it is a TorchScript program; what is read here are weights, as torch.save(state_dict) has")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise Refused("it was written on a big-endian machine")

        def storage(key: str, n: int, _: Any) -> Tensor:
            member = archive.getinfo(f"{folder}data/{key}")
            if n > member.file_size:
                raise Damaged("its tensors are larger than what it holds")
            budget.copy(n)
            content = torch.empty(n, dtype=torch.uint8)
            with archive.open(member) as source:
                if n and source.readinto(memoryview(content.numpy())) != n:  # type: ignore[attr-defined]
                    raise EOFError
            return content

        program = archive.read(found[0])
        return _Machine(budget, nested, storage=storage).run(_Window(io.BytesIO(program), len(program)))


def _of_legacy(window: _Window, budget: _Budget, nested: int) -> Any:
    """What torch.save wrote before 1.6, from after its magic number on: its version, the machine's kind, the object,
    the keys of the storages, and for each its length and content."""
    if _Machine(budget, nested).run(window) != PROTOCOL:
        raise Damaged("its version is not known")
    system = _Machine(budget, nested).run(window)
    if attributes(system).get("little_endian") is not True:
        raise Refused("it was written on a big-endian machine")
    roots: dict[str, tuple[Tensor, int]] = {}  # content, and the bytes of an element

    def storage(key: str, n: int, item: Any) -> Tensor:
        if n > window.size:
            raise Damaged("its tensors are larger than what it holds")
        budget.copy(n)
        roots[key] = torch.zeros(n, dtype=torch.uint8), item
        return roots[key][0]

    tree = _Machine(budget, nested, storage=storage).run(window)
    keys = _Machine(budget, nested).run(window)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(roots):
        raise Damaged("its list of storages does not agree with what it uses")
    for key in keys:
        content, item = roots[key]
        length = window.read(8)
        if len(length) < 8:
            raise EOFError
        if int.from_bytes(length, "little") * item != len(content):
            raise Damaged("the length of a storage does not agree")
        window.fill(content)
    return tree


# The machine

STORAGES = {  # torch's classes of storages -> what they hold
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}  # fmt: skip
TYPES = {
    f"torch.{name}": kind for name in dir(torch) if isinstance(kind := getattr(torch, name), torch.dtype)
}  # "torch.float32" ...

# Modules and functions of which a file of weights has no need, whatever they are called with.
HARMFUL_MODULES = frozenset(
    "posix nt posixpath ntpath sys subprocess _posixsubprocess commands popen2 pty platform shutil pathlib tempfile "
    "glob io _io fileinput imp _imp pkgutil runpy zipimport site code codeop pdb bdb cmd trace timeit profile cProfile "
    "doctest inspect gc types _ctypes socket _socket socketserver urllib2 requests ftplib smtplib telnetlib poplib "
    "imaplib webbrowser antigravity threading _thread signal resource operator _operator atexit weakref pickle _pickle "
    "cPickle shelve marshal sqlite3 builtins __builtin__ ast compileall py_compile dis linecache turtle readline "
    "rlcompleter mmap select fcntl pydoc venv".split()
)
HARMFUL_PACKAGES = frozenset(
    "os importlib pip ensurepip setuptools distutils unittest ctypes cffi http urllib xmlrpc asyncio multiprocessing "
    "concurrent dill cloudpickle joblib dbm idlelib lib2to3 tkinter curses".split()
)
HARMFUL = (  # below modules that data names as well
    "torch.hub", "torch.load", "torch.save", "torch.package", "torch.jit", "torch.utils.cpp_extension", "torch.ops",
    "torch.classes", "torch.compile", "torch._dynamo", "torch._inductor", "torch.multiprocessing", "torch.fx",
    "torch.serialization.load", "torch.serialization.save", "torch.utils.model_zoo", "torch.utils.bottleneck",
    "torch.utils.collect_env", "numpy.load", "numpy.save", "numpy.savez", "numpy.savetxt", "numpy.loadtxt",
    "numpy.genfromtxt", "numpy.fromfile", "numpy.memmap", "numpy.DataSource", "numpy.f2py", "numpy.distutils",
    "numpy.testing", "numpy.lib", "numpy.ctypeslib", "functools.reduce",
)  # fmt: skip
BUILTINS = {  # classes that are data
    "set": lambda items=(): {_key(item) for item in _sequence(items)},
    "frozenset": lambda items=(): frozenset(_key(item) for item in _sequence(items)),
    "list": lambda items=(): list(_sequence(items)),
    "tuple": lambda items=(): tuple(_sequence(items)),
    "dict": lambda items=(): _dict(items),
    "complex": lambda *parts: complex(*map(_number, parts)),
    "slice": lambda *bounds: slice(*(None if bound is None else _number(bound) for bound in bounds)),
    "range": lambda *bounds: range(*map(_number, bounds)),
    "int": lambda value=0: int(_number(value)),
    "float": lambda value=0.0: float(_number(value)),
    "bool": lambda value=False: bool(_number(value)),
    "str": lambda value="": _is(value, str),
    "bytes": lambda value=b"": _is(value, bytes),
    "object": lambda: Stand("builtins.object"),
}
UNCALLED = ("bytearray", "type", "NoneType", "Ellipsis", "NotImplemented")


@dataclass
class _Storage:
    content: Tensor  # bytes
    kind: torch.dtype


@dataclass
class _Array:
    """numpy's array before its state has come, or its type, whose byte order comes so."""

    dtype: np.dtype | None = None
    made: Any = None  # once the state has come: the memo has this object


class _Machine:
    """Runs a pickle's instructions on data alone.

    Args:
        budget: of the file.
        nested: in how many pickles this one is.
        storage: (key, bytes, bytes of an element) -> content [bytes], where the file has storages beside the pickle.
    """

    def __init__(
        self, budget: _Budget, nested: int, *, storage: Callable[[str, int, int], Tensor] | None = None
    ) -> None:
        self.budget, self.nested, self.storage = budget, nested, storage
        self.storages: dict[str, _Storage] = {}
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, window: _Window) -> Any:
        """What the pickle that begins here makes; the window is then after its end."""
        for instruction, argument, _ in pickletools.genops(window):
            self.budget.step()
            self.step(instruction.name, argument)
        if len(self.stack) != 1 or self.marks:
            raise Damaged("its pickle does not end with one object")
        return self.stack[0]

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in PUSHED:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name]())
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            found = self.memo[int(argument)]
            stack.append(found.made if isinstance(found, _Array) and found.made is not None else found)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("PROTO", "FRAME", "STOP"):
            pass
        elif (action := getattr(self, f"on_{name.lower()}", None)) is not None:
            action(argument) if name in ("GLOBAL", "INST", "PERSID") else action()
        else:  # EXT1, EXT2, EXT4: a registry of the process that wrote it; NEXT_BUFFER: data beside the file
            raise Refused(f"it has the instruction {name}, which refers to something outside of the file")

    def pop(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise Damaged("its pickle takes from an empty stack")
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        found = self.stack[mark:]
        del self.stack[mark:]
        return found

    def on_mark(self) -> None:
        self.marks.append(len(self.stack))

    def on_pop(self) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def on_pop_mark(self) -> None:
        self.since_mark()

    def on_dup(self) -> None:
        self.stack.append(self.stack[-1])

    def on_tuple(self) -> None:
        self.stack.append(tuple(self.since_mark()))

    def on_list(self) -> None:
        self.stack.append(self.since_mark())

    def on_dict(self) -> None:
        self.stack.append(_dict(_pairs(self.since_mark())))

    def on_frozenset(self) -> None:
        self.stack.append(frozenset(map(_key, self.since_mark())))

    def on_tuple1(self) -> None:
        self._tuple(1)

    def on_tuple2(self) -> None:
        self._tuple(2)

    def on_tuple3(self) -> None:
        self._tuple(3)

    def _tuple(self, n: int) -> None:
        self.stack.append(tuple(reversed([self.pop() for _ in range(n)])))

    def on_append(self) -> None:
        item = self.pop()
        self._extend([item])

    def on_appends(self) -> None:
        self._extend(self.since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Stand):
            target = target.entries
        _is(target, list).extend(items)

    def on_additems(self) -> None:
        items = self.since_mark()
        _is(self.stack[-1], set).update(map(_key, items))

    def on_setitem(self) -> None:
        value = self.pop()
        self._update([self.pop(), value])

    def on_setitems(self) -> None:
        self._update(self.since_mark())

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Named):
            raise Refused(f"it changes {printable(target.name)} itself")
        if isinstance(target, Stand):
            target = target.items
        _is(target, dict).update(_dict(_pairs(items)))

    def on_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self.find(module, name))

    def on_stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(self.find(_is(module, str), _is(name, str)))

    def on_reduce(self) -> None:
        args = self.pop()
        self.stack.append(self.call(self.pop(), _is(args, tuple)))

    def on_newobj(self) -> None:
        args = self.pop()
        self.stack.append(self.call(self.pop(), _is(args, tuple)))

    def on_newobj_ex(self) -> None:
        kwargs, args = self.pop(), self.pop()
        self.stack.append(self.call(self.pop(), _is(args, tuple), _is(kwargs, dict)))

    def on_inst(self, argument: str) -> None:
        args = tuple(self.since_mark())
        self.on_global(argument)
        self.stack.append(self.call(self.stack.pop(), args))

    def on_obj(self) -> None:
        what, *args = self.since_mark()
        self.stack.append(self.call(what, tuple(args)))

    def on_build(self) -> None:
        state = self.pop()
        target = self.stack[-1]
        if isinstance(target, Named):
            raise Refused(f"it changes {printable(target.name)} itself")
        if isinstance(target, Stand):
            if isinstance(target.state, dict) and isinstance(state, dict):
                self.budget.copy(8 * len(target.state))
                state = {**target.state, **state}
            target.state = state
        elif isinstance(target, _Array):
            self.stack[-1] = target.made = _array(self, target, state)
        # Of dicts and tensors it is what their subclasses or hooks had as attributes: state_dict's _metadata.

    def on_binpersid(self) -> None:
        self.stack.append(self.outside(self.pop()))

    def on_persid(self, argument: str) -> None:
        self.stack.append(self.outside(argument))

    def outside(self, key: Any) -> Any:
        """What torch.save keeps beside the pickle: a storage, or formerly the source of a network's class."""
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "module" and self.storage is not None:
            return key[1]  # the class; its source is passed over
        if not (isinstance(key, tuple) and len(key) in (5, 6) and key[0] == "storage" and self.storage is not None):
            raise Refused("it refers to something outside of the file (a persistent id)")
        _, what, name, _, n, *view = key
        if isinstance(what, Named):
            raise Refused(f"its tensors are of {shortened(printable(what.name))}, which is not known here")
        kind = _is(what, _Storage).kind
        if _is(name, str) not in self.storages:
            self.storages[name] = _Storage(self.storage(name, _count(n) * kind.itemsize, kind.itemsize), kind)
        root = self.storages[name]
        if root.kind != kind:
            raise Damaged("a storage has two types")
        if view and view[0] is not None:
            _, offset, length = _is(view[0], tuple)
            return _Storage(_part(root.content, _count(offset) * kind.itemsize, _count(length) * kind.itemsize), kind)
        return root

    def find(self, module: str, name: str) -> Any:
        """What a name stands for: what is known here, or the name."""
        full = f"{module}.{name}"
        said = shortened(printable(full))
        if module in ("builtins", "__builtin__") and name in (*BUILTINS, *UNCALLED):
            return Named(f"builtins.{name}")
        if module in ("builtins", "__builtin__") and re.fullmatch(r"[A-Z]\w*(Error|Exception|Warning)", name):
            return Named(f"builtins.{name}")
        if full in ("__builtin__.unicode", "__builtin__.long", "__builtin__.xrange", "__builtin__.buffer"):
            return Named({"unicode": "builtins.str", "long": "builtins.int", "xrange": "builtins.range"}.get(name, full))
        parts = full.split(".")
        if (
            (module in HARMFUL_MODULES or parts[0] in HARMFUL_PACKAGES) and full not in HARMLESS
            or any(full == harm or full.startswith(f"{harm}.") for harm in HARMFUL)
            or any(part in HARMFUL_MODULES | HARMFUL_PACKAGES for part in name.split(".")[:-1])  # a module by way of another one
            or any(re.fullmatch(r"__\w+__", part) and part != "__main__" for part in parts[1:])
               and full not in ("copyreg.__newobj__", "copyreg.__newobj_ex__", "copy_reg.__newobj__")
        ):  # fmt: skip
            raise Refused(f"it asks for {said}, which data never need and which could run code")
        if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGES:
            return _Storage(torch.empty(0, dtype=torch.uint8), STORAGES[name])
        if full in TYPES:
            return TYPES[full]
        return Named(re.sub(r"^numpy\._core\.", "numpy.core.", full))  # numpy 2's names as numpy 1's

    def call(self, what: Any, args: tuple[Any, ...], kwargs: dict[Any, Any] | None = None) -> Any:
        """The data that a call would give, if it is known; else what it was."""
        if isinstance(what, _Storage | torch.dtype):
            return Stand(f"{what}"[:80], args)
        if not isinstance(what, Named):
            raise Refused("it calls something that is not named in it")
        name = what.name
        for arg in args:  # what is known copies its arguments, if anything
            if isinstance(arg, (list, tuple, set, frozenset, dict)):
                self.budget.copy(8 * len(arg))
        if not kwargs and (known := CALLS.get(name)) is not None:
            return known(self, *args)
        builtin = name.removeprefix("builtins.")
        if builtin in BUILTINS and builtin != name:
            return BUILTINS[builtin](*args)
        if name.endswith("persistence._reconstruct_persistent_obj") and len(args) == 1:
            meta = attributes(args[0])  # NVIDIA's: with the source of the class, which is passed over
            return Stand(_is(meta["class_name"], str), state=meta["state"])
        return Stand(name, args, dict(kwargs or {}))


PUSHED = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 "
    "BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 FLOAT BINFLOAT".split()
)
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set,
}  # fmt: skip
HARMLESS = frozenset(  # of the modules above: classes whose objects are data
    f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
) | {"types.SimpleNamespace"}  # fmt: skip


def _is(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise Damaged(f"a {type(value).__name__} is where a {kind.__name__} belongs")
    return value


def _number(value: Any) -> Any:
    if not isinstance(value, (int, float, complex)):
        raise Damaged(f"a {type(value).__name__} is where a number belongs")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**48:
        raise Damaged("a size is no number that can be one")
    return value


def _sequence(items: Any) -> Iterable[Any]:
    if not isinstance(items, (list, tuple, set, frozenset, dict)):
        raise Damaged(f"a {type(items).__name__} is where a list belongs")
    return items


def _key(value: Any, *, within: bool = False) -> Any:
    """What may be a key: what is hashed in no time and does not collide by design."""
    small = isinstance(value, int) and abs(value) < 2**60
    if small or value is None or isinstance(value, (str, bytes, float, complex, Named, Stand, torch.dtype)):
        return value
    if isinstance(value, tuple) and len(value) <= 16 and not within:
        return tuple(_key(part, within=True) for part in value)
    if isinstance(value, Tensor):
        return id(value)  # the optimizers of old torch: state by parameter
    raise Damaged(f"a {type(value).__name__} is a key of a dict")


def _pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(items[::2], items[1::2], strict=True))


def _dict(items: Any) -> dict[Any, Any]:
    pairs = items.items() if isinstance(items, dict) else _sequence(items)
    return {_key(key): value for key, value in pairs}


def _part(content: Tensor, start: int, length: int) -> Tensor:
    if start + length > len(content):
        raise Damaged("its tensors are larger than what it holds")
    return content[start : start + length]


# What is known by name


def _tensor(
    machine: _Machine, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any, kind: torch.dtype | None = None
) -> Tensor:
    """torch._utils._rebuild_tensor and _v2; `rest` is about gradients and hooks."""
    held = _is(storage, _Storage)
    kind = kind or held.kind
    shape, steps = [_count(n) for n in _is(size, tuple)], [_count(n) for n in _is(stride, tuple)]
    if len(shape) != len(steps) or len(shape) > 16:
        raise Damaged("a tensor's shape and strides do not agree")
    elements, held_elements = math.prod(shape), len(held.content) // kind.itemsize
    last = _count(offset) + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    if elements > held_elements or (elements and last >= held_elements):
        raise Damaged("its tensors are larger than what it holds")
    machine.budget.view(elements * kind.itemsize)
    content = held.content[: held_elements * kind.itemsize].view(kind)
    start = content.storage_offset()  # of a storage that is a part of another
    return content.as_strided(shape, steps, start + (offset if elements else 0))


def _tensor_v3(machine: _Machine, storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, kind: Any,
               metadata: Any = None) -> Tensor:  # fmt: skip
    return _tensor(machine, storage, offset, size, stride, kind=_is(kind, torch.dtype))


def _of_type(machine: _Machine, function: Any, kind: Any, args: Any, state: Any) -> Any:
    """torch._tensor._rebuild_from_type_v2: a tensor with attributes."""
    return machine.call(function, _is(args, tuple))


def _load_from_bytes(machine: _Machine, content: Any) -> _Storage:
    """torch.storage._load_from_bytes: a storage within a plain pickle, itself a file of torch.save."""
    if machine.nested >= NESTED:
        raise Damaged("it holds files within files within files")
    content = _is(content, bytes)
    machine.budget.copy(len(content))
    return _is(_read(io.BytesIO(content), len(content), machine.budget, nested=machine.nested + 1), _Storage)


def _numpy_type(machine: _Machine, name: Any, *rest: Any) -> Any:
    if isinstance(name, Named):
        name = {"numpy.bool_": "?"}.get(name.name, name.name.removeprefix("numpy."))
    if not isinstance(name, str) or not re.fullmatch(r"[<>|=]?([?]|[biufcSUa]\d{1,6}|(bool|u?int|float|complex)\d*)", name):
        return Stand("numpy.dtype", (name, *rest))
    return _Array(np.dtype(name.replace("a", "S") if name[:1] == "a" else name))


def _numpy_scalar(machine: _Machine, kind: Any, content: Any = None) -> Any:
    if not isinstance(kind, _Array) or kind.dtype is None or kind.dtype.kind not in "biufcSU?":
        return Stand("numpy.scalar", (kind, content))
    if len(_is(content, bytes)) != kind.dtype.itemsize:
        raise Damaged("a number has another length than its type")
    return np.frombuffer(content, kind.dtype)[0].item()


def _numpy_buffer(machine: _Machine, content: Any, kind: Any, shape: Any, order: Any) -> Any:
    """numpy.core.numeric._frombuffer: of protocol 5."""
    return _filled(machine, kind, shape, content, fortran=order == "F")


def _filled(machine: _Machine, kind: Any, shape: Any, content: Any, *, fortran: bool) -> Any:
    if not isinstance(kind, _Array) or kind.dtype is None or not isinstance(content, (bytes, bytearray)):
        return Stand("numpy.ndarray", (kind, shape, content))  # of objects, or with fields
    sizes = [_count(n) for n in _is(shape, tuple)]
    if len(sizes) > 16 or math.prod(sizes) * kind.dtype.itemsize != len(content):
        raise Damaged("an array has another length than its shape")
    machine.budget.copy(len(content))
    return np.frombuffer(bytearray(content), kind.dtype).reshape(sizes, order="F" if fortran else "C")


def _array(machine: _Machine, target: _Array, state: Any) -> Any:
    """A numpy array, or its type, with the state that BUILD brings."""
    state = _is(state, tuple)
    if target.dtype is not None:  # (3, byte order, ...)
        order = state[1] if len(state) > 1 else "="
        return _Array(target.dtype.newbyteorder(order)) if order in ("<", ">", "=", "|") else target
    _, shape, kind, fortran, content = state if len(state) == 5 else (1, *state)
    return _filled(machine, kind, shape, content, fortran=bool(fortran))


def _reconstructor(machine: _Machine, what: Any, base: Any, state: Any = None) -> Any:
    """copyreg._reconstructor: how protocols 0 and 1 make an object."""
    found = Stand(_is(what, Named).name)
    if isinstance(state, dict):
        found.items = state
    elif isinstance(state, list):
        found.entries = state
    elif state is not None:
        found.args = (state,)
    return found


def _encode(machine: _Machine, text: Any, encoding: Any = "latin1") -> bytes:
    """_codecs.encode: how protocols before 3 write bytes."""
    if not isinstance(encoding, str) or encoding.replace("-", "").lower() not in ("latin1", "ascii", "utf8"):
        raise Damaged("bytes are in an encoding that is not known")
    machine.budget.copy(len(_is(text, str)))
    return text.encode(encoding)


def _bytearray(machine: _Machine, value: Any = b"", encoding: Any = "latin1") -> bytes:
    return _encode(machine, value, encoding) if isinstance(value, str) else _is(value, bytes)


def _tuple_of(machine: _Machine, items: Any = ()) -> tuple[Any, ...]:
    return tuple(_sequence(items))


CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": lambda machine, tensor, *rest: _is(tensor, Tensor),
    "torch._utils._rebuild_parameter_with_state": lambda machine, tensor, *rest: _is(tensor, Tensor),
    "torch.nn.parameter.Parameter": lambda machine, *args: (
        args[0] if args and isinstance(args[0], Tensor) else Stand("torch.nn.parameter.Parameter", args)
    ),
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.storage._load_from_bytes": _load_from_bytes,
    "torch.Size": _tuple_of,
    "torch.device": lambda machine, kind, index=None: _is(kind, str) + (f":{_count(index)}" if index is not None else ""),
    "collections.OrderedDict": lambda machine, items=(): _dict(items),
    "collections.Counter": lambda machine, items=(): _dict(items),
    "collections.defaultdict": lambda machine, factory=None, items=(): _dict(items),
    "collections.deque": lambda machine, items=(), most=None: list(_sequence(items)),
    "copyreg._reconstructor": _reconstructor,
    "copy_reg._reconstructor": _reconstructor,
    "copyreg.__newobj__": lambda machine, what, *args: machine.call(what, args),
    "copy_reg.__newobj__": lambda machine, what, *args: machine.call(what, args),
    "copyreg.__newobj_ex__": lambda machine, what, args, kwargs: machine.call(what, args, kwargs),
    "_codecs.encode": _encode,
    "builtins.bytearray": _bytearray,
    "numpy.core.multiarray._reconstruct": lambda machine, *rest: _Array(),
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy.core.numeric._frombuffer": _numpy_buffer,
    "numpy.dtype": _numpy_type,
}
