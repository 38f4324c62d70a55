"""Files of directions that are damaged, hostile or simply wrong, made piece by piece: each is refused in one line."""

from __future__ import annotations

import io
import json
import pickle
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Isthmus
from numpy.typing import NDArray
from weights_files import safetensors_file, safetensors_header, zip_file

from core.errors import IsthmusError
from core.models.models import load
from core.spec import ModelSpec

CHANNELS = 32  # of the layer stem
GOOD: NDArray[Any] = np.random.default_rng(0).normal(size=(5, CHANNELS)).astype("<f4")
FLAT = GOOD[0]
LARGE = np.full((1, CHANNELS), 1e300)


def npy(values: NDArray[Any], allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=allow_pickle)
    return file.getvalue()


def headed(header: bytes, values: bytes = GOOD.tobytes(), version: bytes = b"\1\0", length: int | None = None) -> bytes:
    """Return an `.npy` file with a header of any text."""
    size = struct.pack("<H" if version[:1] == b"\1" else "<I", len(header) if length is None else length)
    return b"\x93NUMPY" + version + size + header + values


def described(descr: str = "'<f4'", order: str = "False", shape: str = f"(5, {CHANNELS})", more: str = "") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}{more}}}\n".encode()


def changed(number: int, value: float) -> NDArray[Any]:
    values = GOOD.copy()
    values[number, 3] = value
    return values


def npz(*, packed: bool = False, **arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **arrays)
    return file.getvalue()


def damaged(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]


def bomb(unpacked: int) -> bytes:
    """Return an `.npz` file of a few bytes whose member claims to be a matrix of *unpacked* bytes."""
    shape = f"({unpacked // (4 * CHANNELS)}, {CHANNELS})"
    header = described(shape=shape)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", headed(header, bytes(1 << 16)))
    data = bytearray(file.getvalue())
    entry = data.index(b"PK\1\2")
    struct.pack_into("<I", data, entry + 24, unpacked // (4 * CHANNELS) * 4 * CHANNELS + 10 + len(header))
    return bytes(data)


def longer_than_said() -> bytes:
    """Return an `.npz` file whose compressed member has a thousand times the bytes that the directory says."""
    inside = npy(GOOD)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(inside + bytes(1000 * len(inside))) + packer.flush()
    data = bytearray(zip_file({"a.npy": inside}))
    local = bytearray(data[: data.index(b"PK\1\2")])
    entry = bytearray(data[data.index(b"PK\1\2") : data.index(b"PK\5\6")])
    start = len(local) - len(inside)
    struct.pack_into("<H", entry, 10, 8)
    struct.pack_into("<I", entry, 20, len(packed))
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(entry), start + len(packed), 0)
    return bytes(local[:start]) + packed + bytes(entry) + end


def overlapping() -> bytes:
    data = bytearray(zip_file({"a.npy": npy(GOOD), "b.npy": npy(GOOD)}))
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 4)
    struct.pack_into("<I", data, second + 42, 10)
    return bytes(data)


def encrypted() -> bytes:
    data = bytearray(zip_file({"a.npy": npy(GOOD)}))
    struct.pack_into("<H", data, data.index(b"PK\1\2") + 8, 1)
    return bytes(data)


def tensors(**arrays: NDArray[Any]) -> bytes:
    return safetensors_file(arrays)


def of_type(name: str) -> bytes:
    header = safetensors_header({"a": GOOD})
    header["a"]["dtype"] = name
    return safetensors_file({"a": GOOD}, header=header)


class Evil:
    """An object whose pickle writes a file when it is loaded."""

    def __reduce__(self) -> Any:
        return Path.write_text, (Path("pwned"), "x")


OBJECTS = np.array([Evil()] * 5, dtype=object)
MATRIX = f"expected a matrix of shape (directions, {CHANNELS})"
CASES: dict[str, tuple[Callable[[], bytes], str, dict[str, Any]]] = {
    # the kind of the file
    "empty": (lambda: b"", "got something else", {}),
    "text": (lambda: b"0.1,0.2,0.3\n", "got something else, which begins with b'0.1,0.2,0.3", {}),
    "a web page": (lambda: b"<!DOCTYPE html><html>", "got something else", {}),
    "a reference of Git LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "got something else", {}),
    "a pickle": (lambda: pickle.dumps(Evil()), "refused: it is a pickle", {}),
    "a gzip file": (lambda: b"\x1f\x8b\x08" + bytes(20), "got something else", {}),
    # .npy
    "objects": (lambda: npy(OBJECTS, True), "found Python objects, which are pickled ('|O')", {}),
    "a structured type": (lambda: npy(np.zeros(5, "<f4,<f4")), "found values of another type", {}),
    "whole numbers": (lambda: npy(np.eye(CHANNELS, dtype=np.int64)), "found whole numbers ('<i8')", {}),
    "true and false": (lambda: npy(np.eye(CHANNELS, dtype=bool)), "found true and false ('|b1')", {}),
    "complex numbers": (lambda: npy(GOOD.astype("c8")), "found complex numbers", {}),
    "text as numbers": (lambda: npy(np.full((5, CHANNELS), "x")), "found values of another type ('<U1')", {}),
    "long doubles": (lambda: npy(GOOD.astype(np.longdouble)), "found values of another type ('<f16')", {}),
    "a version of its own": (lambda: headed(described(), version=b"\7\0"), "versions 1 to 3", {}),
    "cut in the magic": (lambda: b"\x93NUMPY", "versions 1 to 3, found something else", {}),
    "cut in the length": (lambda: npy(GOOD)[:9], "got something else or a damaged one", {}),
    "cut in the header": (lambda: npy(GOOD)[:60], "has no header of type, order and shape", {}),
    "cut in the numbers": (lambda: npy(GOOD)[:-1], "needs 640 bytes, the file has 639; it may be cut short", {}),
    "more numbers": (lambda: npy(GOOD) + b"\0", "needs 640 bytes, the file has 641", {}),
    "a huge header": (lambda: headed(described(), version=b"\2\0", length=2**31), "a header of 2,147,483,648", {}),
    "a header of brackets": (lambda: headed(b"(" * 9000), "has no header of type, order and shape", {}),
    "a header that calls": (lambda: headed(b"__import__('os').getcwd()"), "has no header of type", {}),
    "another key": (lambda: headed(described(more=", 'x': 1")), "has no header of type", {}),
    "no shape": (lambda: headed(b"{'descr': '<f4', 'fortran_order': False}"), "has no header of type", {}),
    "a shape below zero": (lambda: headed(described(shape="(-5, 32)")), "has shape (-5, 32)", {}),
    "a shape of fractions": (lambda: headed(described(shape="(5.0, 32)")), "has shape (5.0, 32)", {}),
    "a shape of truths": (lambda: headed(described(shape="(True, 32)")), "has shape (True, 32)", {}),
    "a shape of 100 digits": (lambda: headed(described(shape=f"(1{'0' * 100}, 32)")), "has more than 2 GB", {}),
    "5 GB announced": (lambda: headed(described(shape="(40000000, 32)")), "has more than 2 GB", {}),
    # the matrix
    "one axis": (lambda: npy(FLAT), f"{MATRIX}, for the 32 channels of 'stem', found the array of shape (32,)", {}),
    "three axes": (lambda: npy(GOOD[None]), "found the array of shape (1, 5, 32); reshape it", {}),
    "no axes": (lambda: npy(FLAT[0]), "found the array of shape ()", {}),
    "no directions": (lambda: npy(GOOD[:0]), "found (0, 32), which has no directions", {}),
    "no channels": (lambda: npy(GOOD[:, :0]), f"{MATRIX}, for the 32 channels of 'stem', found (5, 0)", {}),
    "another layer's": (lambda: npy(GOOD[:, :16]), "found (5, 16); give the layer or the matrix that fits", {}),
    "a column each": (lambda: npy(GOOD.T), "found (32, 5); give model.derived.d.transposed: true, or the layer", {}),
    "a row each": (lambda: npy(GOOD), "give model.derived.d.transposed: false, or", {"transposed": True}),
    "not a number": (lambda: npy(changed(3, np.nan)), "direction 3 has nan; remove or correct it", {}),
    "infinity": (lambda: npy(changed(4, -np.inf)), "direction 4 has -inf", {}),
    "too large for float32": (lambda: npy(LARGE), "direction 0 has inf", {}),
    "only zeros": (lambda: npy(GOOD * (np.arange(5) != 2)[:, None]), "direction 2 has only zeros; remove it", {}),
    "zeros in float32": (lambda: npy(GOOD.astype(float) * 1e-60), "direction 0 has only zeros", {}),
    "names of one array": (lambda: npy(GOOD), "no use for the key names with a file of one array", {"names": "a"}),
    # .npz
    "no arrays": (lambda: zip_file({}), "the file has no arrays", {}),
    "another member": (lambda: zip_file({"a.txt": b"x"}), "the file has no arrays", {}),
    "which array": (lambda: npz(a=GOOD, b=GOOD), "the key names with the name of an array, the file has 2", {}),
    "no such array": (lambda: npz(a=GOOD), "names: expected the name of an array, got 'b'; the file has 1 array: 'a'",
                      {"names": "b"}),
    "no such bias": (lambda: npz(a=GOOD), "bias: expected the name of an array, got 'b'", {"bias": "b"}),
    "a bias too short": (lambda: npz(a=GOOD, b=FLAT), "bias: expected one number for each of 5", {"bias": "b"}),
    "a bias of nan": (lambda: npz(a=GOOD, b=np.full(5, np.nan)), "bias: expected finite", {"bias": "b"}),
    "too short for its bias": (lambda: npz(a=GOOD * 1e-42, b=GOOD[:, 0]), "direction 0 is too short for that",
                               {"bias": "b", "unit": True}),
    "objects inside": (lambda: zip_file({"a.npy": npy(OBJECTS, True)}), "found Python objects", {}),
    "a damaged member": (lambda: damaged(npz(a=GOOD), 300), "its checksum is wrong", {}),
    "a damaged packed member": (lambda: damaged(npz(packed=True, a=GOOD), 300), "", {}),
    "a cut directory": (lambda: npz(a=GOOD)[:-30], "the file may be cut short", {}),
    "a member twice": (lambda: zip_file([("a.npy", npy(GOOD))] * 2), "two members of the zip file", {}),
    "members over each other": (overlapping, "refused: member 'b.npy' of the zip file", {}),
    "an encrypted member": (encrypted, "is encrypted or packed in an unusual way", {}),
    "another compression": (lambda: zip_file({"a.npy": npy(GOOD)}, zipfile.ZIP_LZMA), "packed in an unusual way", {}),
    "a bomb of 3 GB": (lambda: bomb(3 * 10**9), "claims 3,000,000,076 bytes, packed into", {}),
    "a bomb of 1 GB": (lambda: bomb(10**9), "bytes, packed into", {}),
    "a bomb that is too small to tell": (lambda: bomb(10**7), "its checksum is wrong", {}),
    "more than it says": (longer_than_said, "has more bytes than its directory says", {}),
    # .safetensors
    "a huge header of tensors": (lambda: safetensors_file({"a": GOOD}, length=2**40), "announces a header of", {}),
    "tensors of another type": (lambda: of_type("F8_E4M3"), "is of type 'F8_E4M3'", {}),
    "tensors of whole numbers": (lambda: tensors(a=np.ones((5, CHANNELS), "<i8")), "found whole numbers", {}),
    "which tensor": (lambda: tensors(W_dec=GOOD, W_enc=GOOD), "2 arrays: 'W_dec', 'W_enc'", {}),
    "cut tensors": (lambda: tensors(a=GOOD)[:-3], "bytes of tensors, the file has", {}),
    "tensors of nan": (lambda: tensors(a=changed(1, np.nan)), "direction 1 has nan", {}),
    "a header that is no object": (lambda: safetensors_file({}, header=b"{}x"), "or a damaged one", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_cannot_be_directions_is_refused_in_one_line(case: str, isthmus: Isthmus) -> None:
    """The command ends with 2, and its line names the key and the file, what was expected and what was found.

    Nothing of the file is run, and no memory is taken for what it claims to have.
    """
    make, message, keys = CASES[case]
    Path("d.bin").write_bytes(make())
    derived = {"d": {"of": "stem", "file": "d.bin", **keys}}
    spec = {"name": "small", "model": {"derived": derived}, "pairs": {"select": "all", "neurons": ["d:0-4"]}}
    Path("atlas.yaml").write_text(json.dumps(spec))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    said = isthmus("models", "layers", "atlas.yaml")

    assert (said.code, said.out) == (2, "")
    [line] = said.err.splitlines()
    assert "model.derived.d.file d.bin: " in line
    assert message in line
    assert len(line) < 600
    assert not Path("pwned").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_any_byte_of_a_header_may_be_wrong(tmp_path: Path) -> None:
    """Directions are read, or refused by an error of one line; nothing else happens."""
    files = {"npy": npy(GOOD), "npz": npz(packed=True, a=GOOD), "safetensors": tensors(a=GOOD)}
    for suffix, data in files.items():
        for place in [*range(0, min(len(data), 140), 3), *range(len(data) - 100, len(data), 3)]:
            file = tmp_path / f"{place}.{suffix}"
            file.write_bytes(damaged(data, place))
            spec = ModelSpec.model_validate({"derived": {"d": {"of": "stem", "file": str(file)}}})
            try:
                load(spec)
            except IsthmusError as error:
                assert str(error).isprintable()
