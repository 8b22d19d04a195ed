"""Strangers' files: what they hold comes out as data, and nothing that they say is run."""

import argparse
import builtins
import functools
import io
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path, PosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.formats import pickles, recognise
from zoo.formats.pickles import Named, Stand, attributes, read, tensors

STATE = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "a.half": torch.ones(2, dtype=torch.float16),
    "a.number": torch.tensor(3),
    "a.truth": torch.tensor([True, False]),
    "a.bf16": torch.ones(3, dtype=torch.bfloat16),
    "a.empty": torch.zeros(0, 4),
}
TREE = {
    "g": OrderedDict(STATE), "view": torch.arange(12.0).reshape(3, 4).T[1:, ::2], "lr": [0.1, 2, None, True],
    "args": argparse.Namespace(size=32, path="x"), "where": PosixPath("/a/b"), "pair": (1, "two", b"three"),
    "array": np.arange(6, dtype=np.int16).reshape(2, 3), "scalar": np.float32(1.5), "whole": np.int64(7),
    "counts": Counter("aab"), "nested": defaultdict(list, {"x": [1]}), "set": {1, 2}, "frozen": frozenset("ab"),
    "dtype": torch.float32, "device": torch.device("cuda:1"), "size": torch.Size([2, 3]), "complex": 1 + 2j,
    "slice": slice(1, None), "range": range(3), "bytes": bytearray(b"xy"), "long": 2**70, "negative": -(2**40),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "big": np.arange(3, dtype=">i4"),
    "parameter": nn.Parameter(torch.ones(2)), "name": np.str_("x"), "truth": np.bool_(True),
    "simple": SimpleNamespace(a=1), "class": OrderedDict, "unicode": "Å\n",
}  # fmt: skip


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def held(tree: dict[str, Any]) -> None:
    """Hold what was read to be TREE."""
    for name, value in STATE.items():
        assert torch.equal(tree["g"][name], value) and tree["g"][name].dtype == value.dtype, name
    assert torch.equal(tree["view"], TREE["view"]) and torch.equal(tree["parameter"], torch.ones(2))
    assert type(tree["parameter"]) is Tensor
    for name in ("array", "fortran", "big"):
        assert np.array_equal(tree[name], TREE[name]) and tree[name].dtype == TREE[name].dtype, name
    assert tree["args"].name == "argparse.Namespace" and tree["args"].state == {"size": 32, "path": "x"}
    assert isinstance(tree["where"], Stand) and tree["where"].args[-1] == "b"
    assert tree["device"] == "cuda:1" and tree["dtype"] is torch.float32 and tree["size"] == (2, 3)
    assert tree["simple"].state == {"a": 1} and tree["class"] == Named("collections.OrderedDict")
    same = ("lr", "pair", "scalar", "whole", "counts", "nested", "set", "frozen", "complex", "slice", "range", "bytes",
            "long", "negative", "name", "truth", "unicode")  # fmt: skip
    for name in same:
        assert tree[name] == TREE[name], name


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickle(tmp_path: Path, protocol: int) -> None:
    held(read(written(tmp_path / "x.pkl", pickle.dumps(TREE, protocol=protocol))))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_torch_save(tmp_path: Path, zipped: bool, protocol: int) -> None:
    path = tmp_path / "x.pth.tar"
    torch.save(TREE, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    held(read(path))


def test_shared_storage_views_and_networks(tmp_path: Path) -> None:
    """A legacy file's storages are views of each other; a network that was pickled whole is a stand-in with weights."""
    base = torch.arange(10.0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2)))
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pth"
        torch.save({"base": base, "part": base[3:5], "net": network}, path, _use_new_zipfile_serialization=zipped)
        tree = read(path)
        assert torch.equal(tree["part"], base[3:5]) and tree["part"].data_ptr() == tree["base"][3:].data_ptr()
        assert tree["net"].name == "torch.nn.modules.container.Sequential"
        found = tensors(tree["net"])
        assert found is not None and found.keys() == network.state_dict().keys()
        assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())


def test_legacy_views_with_metadata_and_classes(tmp_path: Path) -> None:
    """Files of torch 0.4: a storage that is a part of another, and classes of networks as persistent ids."""

    class Ids(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            return thing.key if isinstance(thing, Key) else None

    content = io.BytesIO()
    for part in (pickles.MAGIC, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}):
        pickle.dump(part, content, protocol=2)
    root = Key(("storage", torch.FloatStorage, "7", "cuda:0", 6, None))
    view = Key(("storage", torch.FloatStorage, "7", "cuda:0", 6, ("8", 2, 3)))
    network = Key(("module", nn.ReLU, "file.py", "raise SystemExit"))
    Ids(content, protocol=2).dump({"a": Rebuilt(root, 6), "b": Rebuilt(view, 3), "class": network})
    pickle.dump(["7"], content, protocol=2)
    content.write(struct.pack("<q6f", 6, *range(6)))
    tree = read(written(tmp_path / "x.pth", content.getvalue()))
    assert tree["a"].tolist() == [0, 1, 2, 3, 4, 5] and tree["b"].tolist() == [2, 3, 4]
    assert tree["class"] == Named("torch.nn.modules.activation.ReLU")
    with pytest.raises(ValueError, match="can't be read: truncated"):
        read(written(tmp_path / "x.pth", content.getvalue()[:-2]))


class Key:
    def __init__(self, key: tuple[Any, ...]) -> None:
        self.key = key


class Rebuilt:
    def __init__(self, storage: Key, n: int) -> None:
        self.storage, self.n = storage, n

    def __reduce__(self) -> Any:
        return torch._utils._rebuild_tensor_v2, (self.storage, 0, (self.n,), (1,), False, OrderedDict())


def test_safetensors(tmp_path: Path) -> None:
    save_file({"a.b": torch.ones(2)}, tmp_path / "x.safetensors")
    assert torch.equal(read(tmp_path / "x.safetensors")["a.b"], torch.ones(2))


@pytest.mark.parametrize("protocol", [2, 4])
def test_names_of_numpy_1_and_2(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps([np.arange(3.0), np.float64(2)], protocol=protocol)
    new = b"numpy._core.multiarray"
    assert new in content  # else this tests nothing
    older = content.replace(b"\x8c\x16" + new, b"\x8c\x15numpy.core.multiarray").replace(new, b"numpy.core.multiarray")
    if protocol == 4:  # the frame's length
        older = older[:3] + struct.pack("<Q", len(older) - 11) + older[11:]
    for variant in (content, older):
        array, number = read(written(tmp_path / "x.pkl", variant))
        assert array.tolist() == [0, 1, 2] and number == 2.0


def test_prefixes_of_wrappers() -> None:
    inner = torch.ones(1)
    for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."):
        assert tensors({f"{prefix}a": inner, f"{prefix}b": inner}) == {"a": inner, "b": inner}
    assert tensors({"module.a": inner, "b": inner}) == {"module.a": inner, "b": inner}
    assert tensors({"a": 1}) is None and tensors([inner]) is None


# Hostile files

WITNESS: list[str] = []


def attack(*args: Any, **kwargs: Any) -> None:
    WITNESS.append("run")


class Calls:
    """Pickles as a call."""

    def __init__(self, what: Callable[..., Any], *args: Any, state: Any = None) -> None:
        self.call, self.state = (what, args), state

    def __reduce__(self) -> Any:
        return (*self.call, self.state) if self.state is not None else self.call


def instructions(*parts: str | bytes) -> bytes:
    """A pickle by hand: opcodes as text."""
    return b"\x80\x04" + b"".join(part.encode() if isinstance(part, str) else part for part in parts) + b"."


def stack_global(module: str, name: str) -> bytes:
    return b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)) + b"\x93"


REFUSED: list[tuple[str, bytes]] = [
    ("posix.system", pickle.dumps(Calls(os.system, "touch x"))),
    ("os.system", instructions("cos\nsystem\n(X\x07\0\0\0touch xtR")),
    ("os.system", instructions("(X\x07\0\0\0touch xios\nsystem\n")),
    ("os.system", instructions("(cos\nsystem\nX\x07\0\0\0touch xo")),
    ("os.system", instructions(stack_global("os", "system"), ")R")),
    ("nt.system", instructions("cnt\nsystem\n)R")),
    ("subprocess.Popen", pickle.dumps(Calls(subprocess.Popen, ["touch", "x"]))),
    ("builtins.eval", pickle.dumps(Calls(eval, "1"))),
    ("builtins.exec", pickle.dumps(Calls(exec, "1"))),
    ("builtins.getattr", pickle.dumps(Calls(getattr, "x", "join"))),
    ("builtins.getattr", pickle.dumps(Calls(Calls, Calls(getattr, argparse, "x")) if False else Calls(getattr, 1, "x"))),
    ("builtins.__import__", pickle.dumps(Calls(__import__, "os"))),
    ("__builtin__.eval", instructions("c__builtin__\neval\n(X\x01\0\0\x001tR")),
    ("builtins.setattr", pickle.dumps(Calls(setattr, "x", "y", 1))),
    ("builtins.open", instructions("cbuiltins\nopen\n(X\x01\0\0\0xX\x01\0\0\0wtR")),
    ("builtins.compile", pickle.dumps(Calls(compile, "1", "x", "eval"))),
    ("builtins.object.__subclasses__", instructions(stack_global("builtins", "object.__subclasses__"), ")R")),
    ("torch.os.system", instructions(stack_global("torch", "os.system"), ")R")),
    ("collections.OrderedDict.__init__.__globals__",
     instructions(stack_global("collections", "OrderedDict.__init__.__globals__"))),
    ("torch.hub.load", pickle.dumps(Calls(torch.hub.load, "a/b", "c"))),
    ("torch.serialization.load", pickle.dumps(Calls(torch.load, "x"))),
    ("runpy.run_path", instructions("crunpy\nrun_path\n)R")),
    ("importlib.import_module", instructions("cimportlib\nimport_module\n(X\x02\0\0\0ostR")),
    ("pickle.loads", instructions("c_pickle\nloads\n)R").replace(b"c_pickle", b"cpickle")),
    ("operator.attrgetter", instructions("coperator\nattrgetter\n(X\x06\0\0\0systemtR")),
    ("types.CodeType", instructions("ctypes\nCodeType\n)R")),
    ("shutil.rmtree", instructions("cshutil\nrmtree\n(X\x01\0\0\0xtR")),
    ("webbrowser.open", instructions("cwebbrowser\nopen\n)R")),
    ("numpy.lib", instructions("cnumpy.lib.npyio\nload\n)R")),
    ("pathlib.Path.unlink", instructions(stack_global("pathlib", "Path.unlink"), ")R")),
    ("collections.OrderedDict itself", instructions("ccollections\nOrderedDict\n}X\x01\0\0\0a", "K\x01sb")),  # BUILD
    ("my.Class itself", instructions("cmy\nClass\nX\x01\0\0\0aK\x01s")),  # SETITEM
    ("persistent id", instructions("X\x01\0\0\0aQ")),
    ("persistent id", b"Pabc\n."),
    ("EXT1", instructions(b"\x82\x01")),
    ("not named", instructions("cmy\ncall\n)R)R")),  # the result of a call is called
]  # fmt: skip


@pytest.mark.parametrize("container", ["plain", "zip", "legacy"])
@pytest.mark.parametrize(("name", "content"), REFUSED, ids=[f"{i}-{row[0]}" for i, row in enumerate(REFUSED)])
def test_attacks_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, container: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pth"
    if container == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("bad/data.pkl", content)
    elif container == "legacy":
        head = (pickles.MAGIC, 1001, {"little_endian": True})
        written(path, b"".join(pickle.dumps(part, protocol=2) for part in head) + content)
    else:
        written(path, content)
    with pytest.raises(ValueError, match="bad.pth is refused") as error:
        read(path)
    assert name in str(error.value) and "\n" not in str(error.value)
    assert {p.name for p in tmp_path.iterdir()} == {"bad.pth"}


class WithState:
    def __setstate__(self, state: Any) -> None:
        attack()

    def __reduce__(self) -> Any:
        return WithState, (), {"a": 1}


class WithItems(dict):
    def __setitem__(self, key: Any, value: Any) -> None:
        attack()

    def __reduce__(self) -> Any:
        return WithItems, (), None, None, iter([("a", 1)])


class Old:
    pass


def test_foreign_calls_and_classes_become_stand_ins(tmp_path: Path) -> None:
    thing = Old()
    thing.__dict__["x"] = 3
    tree = {
        "call": Calls(attack, 1, "two"), "partial": functools.partial(attack, 1), "state": WithState(),
        "items": WithItems(), "reconstructed": thing, "setter": Calls(Old, state=({"a": 1}, {"b": 2})),
        "exception": ValueError("x"),
    }  # fmt: skip
    for protocol in range(6):
        found = read(written(tmp_path / "x.pkl", pickle.dumps(tree, protocol=protocol)))
        assert not WITNESS
        assert found["call"].name.endswith(".attack") and found["call"].args == (1, "two")
        assert found["partial"].name == "functools.partial" and not callable(found["partial"])
        assert found["state"].state == {"a": 1} and found["items"].items == {"a": 1}
        assert found["reconstructed"].name.endswith(".Old") and attributes(found["reconstructed"]) == {"x": 3}
        assert found["setter"].state == ({"a": 1}, {"b": 2}) and found["exception"].name.endswith(".ValueError")
    with pytest.raises(ValueError, match="no known format: its first keys are 'call', 'partial'"):
        recognise(found)


def test_source_of_nvidias_objects_is_passed_over(tmp_path: Path) -> None:
    meta = b"}(X\x0a\0\0\0class_nameX\x01\0\0\0GX\x0a\0\0\0module_srcX\x11\0\0\0import os; os.abort()"[:-4]
    source = b"import this\nx = 1\n"
    meta = (
        b"}(X\x0a\0\0\0class_nameX\x01\0\0\0GX\x0a\0\0\0module_srcX" + struct.pack("<I", len(source)) + source
        + b"X\x05\0\0\0state}X\x01\0\0\0aK\x07su"
    )  # fmt: skip
    found = read(
        written(tmp_path / "x.pkl", instructions("ctorch_utils.persistence\n_reconstruct_persistent_obj\n", meta, b"\x85R"))
    )
    assert found.name == "G" and found.state == {"a": 7} and "this" not in sys.modules


def many(n: int, part: bytes) -> bytes:
    return part * n


BOMBS: list[tuple[str, bytes]] = [
    ("length of text", b"\x80\x04X\xff\xff\xff\x7fabc."),
    ("length of text, 8 bytes", b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"abc."),
    ("length of bytes", b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc."),
    ("length of a number", b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"abc."),
    ("number in text", b"L" + b"9" * 100_000 + b"L\n."),
    ("frame", b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"."),
    ("depth of lists", b"\x80\x02" + many(50_000, b"]") + many(49_999, b"a") + b"."),
    ("depth of tuples", b"\x80\x02)" + many(50_000, b"\x85") + b"."),
    ("depth of a key", b"\x80\x02})" + many(50_000, b"\x85") + b"Ns."),
    ("a key that doubles", b"\x80\x02}K\x01" + many(60, b"2\x86") + b"Ns."),
    ("a set of tuples that double", b"\x80\x04\x8f(K\x01" + many(60, b"2\x86") + b"\x90."),
    ("keys that collide", b"\x80\x02}(" + b"".join(
        b"\x8a\x0c" + (i * (2**61 - 1)).to_bytes(12, "little") + b"N" for i in range(1, 30_000)) + b"u."),
    ("no end", b"\x80\x02]"),
    ("empty", b""),
    ("stack", b"\x80\x02a."),
    ("memo", b"\x80\x02h\x07."),
    ("pop a mark", b"\x80\x02K\x01(\x86."),
    ("copies of copies", b"\x80\x02](" + many(100_000, b"N") + b"eq\x00(" + many(
        5_000, b"cbuiltins\nlist\nh\x00\x85R") + b"l."),
    ("array's shape", b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01"
     b"\x8a\x05\0\0\0\0\x10\x85cnumpy\ndtype\nX\x02\0\0\0f4\x89\x88\x87R\x89C\x04aaaatb."),
    ("zeroth range", b"\x80\x02cbuiltins\nrange\nX\x01\0\0\0a\x85R."),
]  # fmt: skip


@pytest.mark.parametrize(("what", "content"), BOMBS, ids=[row[0] for row in BOMBS])
def test_bombs_end_soon_in_one_sentence(tmp_path: Path, what: str, content: bytes) -> None:
    begun = time.perf_counter()
    with pytest.raises(ValueError, match=r"bomb.pkl (can't be read|is damaged|is refused)") as error:
        tree = read(written(tmp_path / "bomb.pkl", content))
        assert what == "frame", tree  # whose length is only a hint
        recognise(tree)
    assert "\n" not in str(error.value) and time.perf_counter() - begun < 5


def test_loops_and_repetition_end(tmp_path: Path) -> None:
    """A list in itself, and one that holds the one before twice, sixty times over."""
    doubled = b"\x80\x02]q\x00" + b"".join(
        b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60)
    )
    for content in (b"\x80\x02]q\x00h\x00a.", doubled + b"."):
        with pytest.raises(ValueError, match="no known format|bomb.pkl"):
            recognise(read(written(tmp_path / "bomb.pkl", content)))
    loop: dict[str, Any] = {"a": 1}
    loop["self"] = loop
    with pytest.raises(ValueError, match="no known format"):
        recognise(read(written(tmp_path / "loop.pkl", pickle.dumps(loop))))


def test_instructions_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "INSTRUCTIONS", 1_000)
    path = written(tmp_path / "x.pkl", b"\x80\x02" + b"N0" * 600 + b"N.")
    with pytest.raises(ValueError, match="x.pkl is damaged: it has more than 1,000 instructions"):
        read(path)


def save_with(path: Path, size: Any, stride: Any, *, numel: int | None = None, zipped: bool = True) -> Path:
    """A file whose one tensor has another size than its storage."""
    tensor = torch.zeros(4)
    real = torch._utils._rebuild_tensor_v2

    class Claimed:
        def __reduce__(self) -> Any:
            return real, (tensor.storage(), 0, size, stride, False, OrderedDict())

    torch.save({"x": Claimed()}, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("size", "stride"),
    [((5,), (1,)), ((10**9, 10**9), (0, 0)), ((2, 2), (3, 1)), ((-1,), (1,)), ((4,), (-1,)), ((2**62,), (1,)), ((1, 4), (1,))],
)
@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_tensors_are_held_against_their_storage(tmp_path: Path, size: Any, stride: Any, zipped: bool) -> None:
    with pytest.raises(ValueError, match="x.pth is damaged"):
        read(save_with(tmp_path / "x.pth", size, stride, zipped=zipped))


@pytest.mark.parametrize("zipped", [True, False])
def test_storages_are_held_against_the_file(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "x.pth"
    torch.save({"x": torch.zeros(1000)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    n = b"M\xe8\x03"  # BININT2 1000
    assert content.count(n) >= 2
    if zipped:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in parts.items():
                archive.writestr(name, part.replace(n, b"M\xe8\x13"))
    else:
        path.write_bytes(content.replace(n, b"J\xff\xff\xff\x7f"))
    with pytest.raises(ValueError, match="x.pth is damaged: its tensors are larger than what it holds"):
        read(path)


def test_every_truncation_is_a_sentence(tmp_path: Path) -> None:
    for zipped in (True, False):
        path = tmp_path / "x.pth"
        torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
        content = path.read_bytes()
        for n in [*range(0, len(content) - 1, 37), len(content) - 1]:
            with pytest.raises(ValueError, match=r"cut.pth (can't be read|is damaged|is refused)"):
                read(written(tmp_path / "cut.pth", content[:n]))


def test_flipped_bytes_never_escape(tmp_path: Path) -> None:
    """Whatever a byte becomes: data or a ValueError."""
    content = bytearray(pickle.dumps(TREE, protocol=4))
    for i in range(0, len(content), 11):
        spoilt = bytearray(content)
        spoilt[i] ^= 0x55
        try:
            read(written(tmp_path / "x.pkl", bytes(spoilt)))
        except ValueError as error:
            assert str(error).startswith(str(tmp_path)) and "\n" not in str(error)


def test_archives(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"

    def fails(match: str) -> None:
        with pytest.raises(ValueError, match=match):
            read(path)

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps(1))
    fails("compressed archive")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/other", b"")
    fails("not of torch.save")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(1))
        archive.writestr("x/constants.pkl", pickle.dumps(()))
    fails("TorchScript")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(1))
        archive.writestr("x/byteorder", b"big")
    fails("big-endian")
    torch.save(STATE, path)
    content = bytearray(path.read_bytes())
    at = content.index(np.arange(6, dtype=np.float32).tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    fails("checksum")
    import tarfile

    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("storages"))
    fails("tar archive")
    path.unlink()
    fails("there is no such file")
    path.mkdir()
    fails("no file")


def test_a_file_within_a_file_within(tmp_path: Path) -> None:
    content = b"x"
    for _ in range(6):
        content = (
            b"\x80\x04ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(content)) + content + b"\x85R."
        )
    with pytest.raises(ValueError, match="files within files"):
        read(written(tmp_path / "x.pkl", content))


def test_nothing_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.pth"
    torch.save(TREE, path)
    import safetensors.torch  # noqa: F401  (imported by name where it is needed)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(args)

    monkeypatch.setattr(pickle.Unpickler, "find_class", refuse, raising=False) if False else None
    real = builtins.__import__
    asked: list[str] = []
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest: asked.append(name) or real(name, *rest))
    read(path)
    assert not {"argparse", "pathlib", "types"} & set(asked)
