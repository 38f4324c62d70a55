"""PyTorch and safetensors files are untrusted: each damaged or hostile file is refused in one line and runs nothing."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from weights_files import (
    dictionary,
    legacy_file,
    safetensors_file,
    safetensors_header,
    storage,
    tensor,
    text,
    zip_file,
    zip_members,
)

from core.errors import ModelError
from core.models.inception import read_tensors
from core.models.weight_files.safetensors_file import read_safetensors
from core.models.weight_files.torch_legacy import read_state_dict
from core.models.weight_files.torch_zip import read_zip_state_dict

STATE = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([7, 8], np.float32)}
W, B = (values.tobytes() for values in STATE.values())
PROTO = b"\x80\x02"
DAMAGED_LEGACY = "expected a legacy PyTorch weights file, got something else or a damaged one ("
DAMAGED_ZIP = "expected a PyTorch weights file, got something else or a damaged one ("
OUTSIDE = "expected tensors inside their storage, got one that reaches outside"


def over(shape: tuple[int, ...], strides: tuple[int, ...] | None = None, offset: int = 0, size: int = 6) -> bytes:
    """Return a legacy file with one tensor over one storage, which has six values in the file."""
    pickled = dictionary({"w": tensor(storage("0", size, legacy=True), shape, strides, offset)})
    return legacy_file(pickled=pickled, keys=["0"], values=struct.pack("<q", 6) + W)


def of_pickle(body: bytes) -> bytes:
    """Return a legacy file whose dictionary is another pickle, without values."""
    return legacy_file(pickled=PROTO + body + b".")


def nested(levels: int) -> bytes:
    """Return operations for a tuple in a tuple in a tuple, and so on."""
    return b")" + b"\x85" * levels


def doubled(levels: int) -> bytes:
    """Return operations for a tuple of a tuple twice of a tuple twice, and so on: 2 ** levels tuples in all."""
    return b")" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(levels))


def number(value: int) -> bytes:
    """Return the operation for a whole number of any size."""
    encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(encoded)) + encoded


def huge_tensor(value: int) -> bytes:
    made = storage("0", 6, legacy=True)
    place = b"K\0" + b"(" + number(value) + b"t" + b"(K\1t"
    return of_pickle(b"}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + made + place + b"tRs")


def with_two_storages(second: bytes) -> bytes:
    tensors = {"w": tensor(storage("0", 6, legacy=True), (2, 3)), "b": tensor(second, (2,))}
    return legacy_file(pickled=dictionary(tensors), keys=["0"], values=struct.pack("<q", 6) + W)


VALUES = struct.pack("<q", 6) + W + struct.pack("<q", 2) + B
LEGACY: Mapping[str, tuple[bytes, str]] = {
    "only the first byte": (PROTO[:1], DAMAGED_LEGACY),
    "only a pickle": (pickle.dumps({"a": 1}, 2), "expected the magic number of a legacy PyTorch file at the start"),
    "another protocol": (
        b"".join(pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1000, {})), "file of protocol 1001, got",
    ),
    "big-endian": (legacy_file(STATE, machine={"little_endian": False}), "written on a big-endian machine"),
    "cut in a pickle": (legacy_file(STATE)[:150], DAMAGED_LEGACY),
    "cut in the values": (legacy_file(STATE)[:-1], "expected 2 values in storage '1', the file ends early"),
    "no values": (legacy_file(STATE, values=b""), DAMAGED_LEGACY),
    "longer": (legacy_file(STATE) + b"\0", "expected the end of the file after the last storage, found more"),
    "another count": (legacy_file(STATE, values=VALUES.replace(b"\6", b"\5", 1)), "expected 6 values in storage '0'"),
    "a negative count": (legacy_file(STATE, values=struct.pack("<q", -6) + W), "expected 6 values in storage '0'"),
    "a key too few": (legacy_file(STATE, keys=["0"]), OUTSIDE),
    "a key twice": (legacy_file(STATE, keys=["0", "0"], values=2 * VALUES[:32]), "the file has storage '0' twice"),
    "an unknown key": (legacy_file(STATE, keys=["0", "1", "2"]), "expected the keys of the storages after the tensors"),
    "a key that is no text": (legacy_file(STATE, keys=[0, 1]), "expected the keys of the storages after the tensors"),
    "a deep key": (legacy_file(STATE, keys=PROTO + b"(" + nested(60_000) + b"l."), "expected the keys of the storages"),
    "no keys": (legacy_file(STATE, keys=7), DAMAGED_LEGACY),
    "a longer shape": (over((3, 3)), OUTSIDE),
    "a longer stride": (over((2, 3), (4, 1)), OUTSIDE),
    "an offset": (over((2, 3), offset=1), OUTSIDE),
    "a negative offset": (over((2, 2), offset=-1), OUTSIDE),
    "a negative stride": (over((2, 3), (-3, 1)), OUTSIDE),
    "a negative size": (over((-2, -3), (3, 1)), OUTSIDE),
    "many axes": (over((1,) * 9), OUTSIDE),
    "fewer strides": (over((2, 3), (1,)), DAMAGED_LEGACY),
    "values that repeat": (over((1 << 20, 1 << 10, 6), (0, 0, 1)), "expected tensors with no more values than their"),
    "a huge size": (huge_tensor(1 << 4_000_000), OUTSIDE),
    "a negative storage": (over((2, 3), size=-6), "a persistent id that is not a tensor storage"),
    "a huge storage": (over((2, 3), size=2**31 - 1), "a persistent id that is not a tensor storage"),
    "one storage as two": (with_two_storages(storage("0", 2, legacy=True)), "describes storage '0' in two ways"),
    "doubles": (
        with_two_storages(storage("1", 2, kind="DoubleStorage", legacy=True)),
        "has values of type 'DoubleStorage', expected FloatStorage; save the state_dict() of model.cpu().float()",
    ),
    "a storage of text": (of_pickle(b"(" + text("storage") + 4 * text("<f4") + b"NtQ"), "id that is not a tensor"),
    "a module": (of_pickle(b"(" + text("module") + b"NtQ"), "a persistent id that is not a tensor storage"),
    "a tensor of nothing": (of_pickle(b"ctorch._utils\n_rebuild_tensor_v2\n(NK\0))tR"), "not made of a storage and"),
    "a tensor without strides": (of_pickle(b"ctorch._utils\n_rebuild_tensor_v2\n(NK\0tR"), DAMAGED_LEGACY),
    "a parameter of nothing": (of_pickle(b"ctorch._utils\n_rebuild_parameter\n(NtR"), "a parameter that is not a"),
    "a whole model": (
        of_pickle(b"cmodels.inception\nInceptionV1\n)\x81"),
        "asks for 'InceptionV1' of 'models.inception', and only tensors are admitted; save the weights with "
        "torch.save(model.state_dict(), FILE)",
    ),
    "a command": (of_pickle(b"cposix\nsystem\n(" + text("touch ran") + b"tR"), "asks for 'system' of 'posix', and"),
    "a name of 30,000 letters": (of_pickle(b"c" + b"x" * 30_000 + b"\ny\n"), "asks for 'y' of 'xxx"),
    "a call of a type": (of_pickle(b"ctorch\nFloatStorage\n)R"), "calls something that is not a function for tensors"),
    "a call of a dictionary": (of_pickle(b"})R"), "calls something that is not a function for tensors"),
    "a call with a list": (of_pickle(b"ccollections\nOrderedDict\n]R"), "calls something that is not a function"),
    "a dictionary of a number": (of_pickle(b"ccollections\nOrderedDict\n(K\1tR"), "not made of keys and values"),
    "a dictionary of numbers": (of_pickle(b"ccollections\nOrderedDict\n(](K\1K\2eltR"), DAMAGED_LEGACY),
    "a dictionary of deep keys": (
        of_pickle(b"ccollections\nOrderedDict\n((" + nested(60_000) + b"N\x86ltR"), "keys that are not texts",
    ),
    "attributes of a function": (of_pickle(b"ccollections\nOrderedDict\n}b"), "changes something that is not a dict"),
    "attributes of a tuple": (of_pickle(b")}b"), "changes something that is not a dict"),
    "items of a tuple": (of_pickle(b")K\1K\2s"), "changes something that is not a dict"),
    "a tuple that grows": (of_pickle(b")K\1a"), "changes something that is not a list"),
    "a key without a value": (of_pickle(b"}(" + text("w") + b"u"), DAMAGED_LEGACY),
    "a key that is a number": (of_pickle(b"}K\1Ns"), "a dictionary with keys that are not texts"),
    "a deep tuple as a key": (of_pickle(b"}" + nested(60_000) + b"Ns"), "a dictionary with keys that are not texts"),
    "a doubled tuple as a key": (of_pickle(b"}" + doubled(100) + b"Ns"), "a dictionary with keys that are not texts"),
    "a deep tuple": (of_pickle(nested(60_000)), "expected a dictionary of tensors, got something else"),
    "a tuple of tensors": (of_pickle(b"(" + tensor(storage("0", 6), (6,)) + b"t"), "expected a dictionary of"),
    "taking away": (of_pickle(b"N0"), "unexpected operation POP in a pickle"),
    "70,000 operations": (of_pickle(b"N" * 70_000), "a pickle in the weights file has more than 65,536 operations"),
    "2 MB of text": (of_pickle(text("x" * (1 << 21))), DAMAGED_LEGACY),
    "an empty stack": (of_pickle(b""), DAMAGED_LEGACY),
    "two results": (of_pickle(b"}}"), DAMAGED_LEGACY),
    "no mark": (of_pickle(b"t"), DAMAGED_LEGACY),
    "nothing to store": (of_pickle(b"q\0"), DAMAGED_LEGACY),
    "a number that was not stored": (of_pickle(b"h\7"), DAMAGED_LEGACY),
    "a large table": (of_pickle(b"}r\xff\xff\xff\xff"), "asks for a table of 4294967295 objects"),
    "a negative table": (of_pickle(b"}p-1\n"), "asks for a table of -1 objects"),
    "a number of 5,000 digits": (of_pickle(b"I" + b"9" * 5000 + b"\n"), DAMAGED_LEGACY),
    "an object": (of_pickle(b"(iposix\nsystem\n"), "unexpected operation INST in a pickle"),
    "an extension": (of_pickle(b"\x82\1"), "unexpected operation EXT1 in a pickle"),
    "an unknown operation": (of_pickle(b"\xff"), DAMAGED_LEGACY),
}  # fmt: skip


INNER = dictionary({"w": tensor(storage("0", 6), (6,))})[2:-1]


def zipped(**changes: bytes | None) -> bytes:
    """Return a PyTorch file with other members in the folder `archive`; None takes a member out."""
    members: dict[str, bytes | None] = {**zip_members(STATE)}
    members |= {f"archive/{name.replace('__', '/').replace('_pkl', '.pkl')}": data for name, data in changes.items()}
    return zip_file({name: data for name, data in members.items() if data is not None})


def entry_changed(field: int, value: int, form: str = "<I", member: str = "archive/data/0") -> bytes:
    """Return a PyTorch file with another value in an entry of its directory; *field* is the place in the entry."""
    data = bytearray(zip_file(zip_members(STATE)))
    start = data.rindex(member.encode()) - 46
    struct.pack_into(form, data, start + field, value)
    return bytes(data)


def end_changed(field: int, value: int, form: str = "<I") -> bytes:
    """Return a PyTorch file with another value in the record at its end."""
    data = bytearray(zip_file(zip_members(STATE)))
    struct.pack_into(form, data, len(data) - 22 + field, value)
    return bytes(data)


def place_of(member: str) -> int:
    return zip_file(zip_members(STATE)).index(member.encode()) - 30


WHOLE_ZIP = zip_file(zip_members(STATE))
COMPRESSED = "of the zip file is compressed or encrypted; PyTorch stores members as they are"
ZIPPED: Mapping[str, tuple[bytes, str]] = {
    "only a mark": (b"PK\3\4", DAMAGED_ZIP),
    "cut": (WHOLE_ZIP[:-1], "expected the directory of a zip file at its end"),
    "cut in half": (WHOLE_ZIP[: len(WHOLE_ZIP) // 2], "the file may be cut short"),
    "longer": (WHOLE_ZIP + b"\0", "expected the directory of a zip file at its end"),
    "a bomb": (
        zip_file({**zip_members(STATE), "archive/data/0": bytes(1 << 24)}, zipfile.ZIP_DEFLATED), COMPRESSED,
    ),
    "compressed code": (
        zip_file({"archive/code/__torch__.py": b"", **zip_members(STATE)}, zipfile.ZIP_DEFLATED), "is a TorchScript",
    ),
    "compressed": (zip_file(zip_members(STATE), zipfile.ZIP_DEFLATED), f"'archive/data.pkl' {COMPRESSED}"),
    "encrypted": (entry_changed(8, 1, "<H"), f"'archive/data/0' {COMPRESSED}"),
    "another method": (entry_changed(10, 99, "<H"), COMPRESSED),
    "two sizes": (entry_changed(24, 1 << 31), COMPRESSED),
    "a checksum": (entry_changed(16, 0), "member 'data/0' is damaged, its checksum is wrong; download the file again"),
    "another value": (WHOLE_ZIP.replace(B, W[:8]), "member 'data/1' is damaged, its checksum is wrong"),
    "a place outside": (entry_changed(42, 1 << 31), DAMAGED_ZIP),
    "a place in another member": (entry_changed(42, place_of("archive/data/0") + 1), "another header than its entry"),
    "the place of another member": (entry_changed(42, 0), "of the zip file overlaps another one"),
    "a directory outside": (end_changed(16, 1 << 31), "the zip file announces a directory of 5 members in"),
    "a directory elsewhere": (end_changed(16, 0), "expected an entry in the directory of the zip file"),
    "a large directory": (end_changed(12, 0xFFFFFFFF), "announces a directory of 5 members in 4,294,967,295 bytes"),
    "a small directory": (end_changed(12, 10), DAMAGED_ZIP),
    "more members": (end_changed(8, 0xFFFFFFFF), DAMAGED_ZIP),
    "fewer members": (end_changed(8, 0x00010001), "has more than the 1 members that it announces"),
    "two disks": (end_changed(8, 1, "<H"), "the zip file announces a directory of 5 members"),
    "a name that is no text": (WHOLE_ZIP.replace(b"archive/version", b"archive/versio\xff"), DAMAGED_ZIP),
    "another name": (WHOLE_ZIP.replace(b"archive/version", b"archive/Version", 1), "another header than its entry"),
    "a name twice": (
        zip_file([*zip_members(STATE).items(), ("archive/data/0", W)]), "two members of the zip file have the name",
    ),
    "two dictionaries": (zip_file({**zip_members(STATE), "other/data.pkl": b""}), "with one data.pkl, found 2 in 6"),
    "no dictionary": (zipped(data_pkl=None), "with one data.pkl, found 0 in 4 members such as"),
    "no member": (b"PK\3\4" + WHOLE_ZIP[-22:-14] + bytes(14), "with one data.pkl, found 0 in 0 members such as"),
    "another zip file": (zip_file({"word/document.xml": b""}), "found 0 in 1 members such as 'word/document.xml'"),
    "a member outside": (zip_file({**zip_members(STATE), "../b": b""}), "all members in the folder 'archive', found"),
    "TorchScript": (zipped(constants_pkl=b""), "the file is a TorchScript archive, which has code; save the weights"),
    "code": (zipped(code____torch___py=b""), "the file is a TorchScript archive"),
    "big-endian": (zipped(byteorder=b"big"), "written on a machine of another byte order"),
    "a large byte order": (zipped(byteorder=bytes(1000)), "member 'byteorder' is damaged"),
    "no storage": (zipped(data__0=None), "expected 6 values in storage '0', found none"),
    "a short storage": (zipped(data__0=W[:-4]), "expected 6 values in storage '0', found 20 bytes"),
    "a long storage": (zipped(data__0=W + b"\0"), "expected 6 values in storage '0', found 25 bytes"),
    "a storage elsewhere": (
        zipped(data_pkl=dictionary({"w": tensor(storage("../version", 6), (6,))})), "in storage '../version', found",
    ),
    "an empty pickle": (zipped(data_pkl=b""), DAMAGED_ZIP),
    "a large pickle": (zipped(data_pkl=bytes((1 << 20) + 1)), "data.pkl has 1,048,577 bytes, expected at most"),
    "a deep tuple as a key": (zipped(data_pkl=PROTO + b"}" + nested(60_000) + b"Ns."), "keys that are not texts"),
    "a command": (zipped(data_pkl=PROTO + b"cposix\nsystem\n(" + text("touch ran") + b"tR."), "asks for 'system' of"),
    "a whole model": (zipped(data_pkl=PROTO + b"c__main__\nNet\n)\x81."), "save the weights with"),
    "a dictionary in itself": (zipped(data_pkl=PROTO + b"}q\0" + text("a") + b"h\0s."), "found none; save the"),
    "a dictionary in a dictionary": (
        zipped(data_pkl=PROTO + b"}" + text("state_dict") + INNER + b"s."),
        "found none; save the weights with torch.save(model.state_dict(), FILE)",
    ),
}  # fmt: skip


def header(**change: Any) -> bytes:
    """Return a safetensors file with changes in the entry of its first tensor."""
    entries = safetensors_header(STATE)
    entries["w"] = {key: value for key, value in {**entries["w"], **change}.items() if value is not None}
    return safetensors_file(STATE, header=entries)


def text_header(written: str) -> bytes:
    return safetensors_file(STATE, header=written.encode())


NOT_WHOLE = "tensor 'w' has no dtype, shape and data_offsets of whole numbers"
DAMAGED_SAFETENSORS = "expected a safetensors file, got something else or a damaged one ("
WHOLE = safetensors_file(STATE)
SAFETENSORS: Mapping[str, tuple[bytes, str]] = {
    "a header longer than the file": (safetensors_file(STATE, length=1 << 20), "announces a header of 1,048,576"),
    "the longest header": (safetensors_file(STATE, length=2**64 - 1), "a header of 18,446,744,073,709,551,615 bytes,"),
    "a header that is cut": (safetensors_file(STATE, length=50), DAMAGED_SAFETENSORS),
    "no header": (safetensors_file(STATE, length=0), DAMAGED_SAFETENSORS),
    "a header of 2 MB": (safetensors_file({}, header=b"{" + b" " * (1 << 21) + b"}"), "a header of 2,097,154 bytes"),
    "no tensors": (safetensors_file({}), "expected the 116 tensors of InceptionV1, found none"),
    "no JSON": (text_header("{w}"), DAMAGED_SAFETENSORS),
    "no text": (safetensors_file(STATE, header=b"{\xff}"), DAMAGED_SAFETENSORS),
    "deep brackets": (text_header('{"w":' + "[" * 100_000), DAMAGED_SAFETENSORS),
    "a number of 5,000 digits": (text_header('{"w":' + "9" * 5000 + "}"), DAMAGED_SAFETENSORS),
    "a name twice": (text_header('{"w":1,"w":2}'), "the header has the name 'w' twice"),
    "a key twice": (text_header('{"w":{"dtype":"F32","dtype":"F16"}}'), "the header has the name 'dtype' twice"),
    "an entry that is a number": (text_header('{"w":1}'), NOT_WHOLE),
    "no type": (header(dtype=None), NOT_WHOLE),
    "no shape": (header(shape=None), NOT_WHOLE),
    "no offsets": (header(data_offsets=None), NOT_WHOLE),
    "three offsets": (header(data_offsets=[0, 24, 32]), NOT_WHOLE),
    "a negative shape": (header(shape=[-2, -3]), NOT_WHOLE),
    "a shape of fractions": (header(shape=[2.0, 3.0]), NOT_WHOLE),
    "a shape of yes and no": (header(shape=[True, 6]), NOT_WHOLE),
    "a shape of text": (header(shape=["2", "3"]), NOT_WHOLE),
    "a shape of infinity": (header(shape=[float("inf")]), NOT_WHOLE),
    "many axes": (header(shape=[1] * 9), NOT_WHOLE),
    "a negative offset": (header(data_offsets=[-24, 0]), NOT_WHOLE),
    "offsets in reverse": (header(data_offsets=[24, 0]), "tensor 'w' of shape [2, 3] has -24 bytes, expected 24"),
    "a larger shape": (header(shape=[3, 3]), "tensor 'w' of shape [3, 3] has 24 bytes, expected 36"),
    "a huge shape": (header(shape=[1 << 62] * 8), "has 24 bytes, expected "),
    "a shape of 4,000 digits": (header(shape=[10**4000] * 8), "has 24 bytes, expected "),
    "a shape that wraps": (header(shape=[1 << 63, 2, 6]), "has 24 bytes, expected "),
    "doubles": (header(dtype="F64", shape=[3]), "tensor 'w' is of type 'F64', expected F32, F16 or BF16"),
    "an unknown type": (header(dtype="F8_E5M2"), "tensor 'w' is of type 'F8_E5M2', expected F32, F16 or BF16"),
    "overlapping": (header(shape=[7], data_offsets=[0, 28]), "tensor 'b' begins at byte 24, expected 28"),
    "the same place": (header(shape=[2], data_offsets=[24, 32]), "tensor 'w' begins at byte 24, expected 0"),
    "a gap": (header(shape=[5], data_offsets=[0, 20]), "tensor 'b' begins at byte 24, expected 20"),
    "a gap at the start": (header(shape=[5], data_offsets=[4, 24]), "tensor 'w' begins at byte 4, expected 0"),
    "cut": (WHOLE[:-1], "expected 32 bytes of tensors, the file has 31"),
    "longer": (WHOLE + b"\0", "expected 32 bytes of tensors, the file has 33"),
    "far outside": (header(shape=[1 << 40], data_offsets=[32, 32 + (1 << 42)]), "tensor 'b' begins at byte 24,"),
    "larger than the file": (
        safetensors_file({}, header={"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}),
        "expected 4398046511104 bytes of tensors, the file has 0",
    ),
}  # fmt: skip

OTHERS: Mapping[str, tuple[bytes, str]] = {
    "a page": (b"<!DOCTYPE html>", "expected InceptionV1 as a frozen graph, a PyTorch state dictionary or safetensors"),
    "a reference to a large file": (b"version https://git-lfs", "got something else, which begins with b'version"),
    "a large PyTorch file": (b"\x80\x02" + bytes(1 << 26), "whose weights have 28 MB, got a file of 67 MB"),
}
CASES = {
    f"{kind}, {name}": case
    for kind, cases in (("legacy", LEGACY), ("zip", ZIPPED), ("safetensors", SAFETENSORS), ("other", OTHERS))
    for name, case in cases.items()
}


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_or_hostile_file_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The line begins with the file and says what is wrong; no command is run."""
    content, expected = CASES[case]
    file = tmp_path / "weights"
    file.write_bytes(content)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelError) as caught:
        read_tensors(file)

    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert message.isprintable()
    assert len(message) < 500
    assert expected in message
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (legacy_file(STATE), read_state_dict),
        (WHOLE_ZIP, read_zip_state_dict),
        (zipped(byteorder=None), read_zip_state_dict),
        (WHOLE, read_safetensors),
    ],
    ids=["legacy", "zip", "zip without byte order", "safetensors"],
)
def test_the_files_that_the_damage_is_made_from_are_read(tmp_path: Path, written: bytes, read: Any) -> None:
    """The files are valid before they are damaged."""
    (tmp_path / "weights").write_bytes(written)

    found = read(tmp_path / "weights")

    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in STATE.items()
    }


def test_tensors_may_share_a_storage(tmp_path: Path) -> None:
    """Two tensors that are views of one storage, one of them transposed, are read as PyTorch reads them."""
    views = {"a": tensor(storage("0", 6), (3, 2), (1, 3)), "b": tensor(storage("0", 6), (2,), offset=4)}
    (tmp_path / "weights").write_bytes(zipped(data_pkl=dictionary(views)))

    found = read_zip_state_dict(tmp_path / "weights")

    assert {name: array.tolist() for name, array in found.items()} == {"a": [[0, 3], [1, 4], [2, 5]], "b": [4, 5]}


def test_a_parameter_is_its_tensor(tmp_path: Path) -> None:
    """A dictionary of `named_parameters()` has parameters around the tensors."""
    made = b"ctorch._utils\n_rebuild_parameter\n(" + tensor(storage("1", 2), (2,)) + b"\x88}tR"
    (tmp_path / "weights").write_bytes(zipped(data_pkl=dictionary({"b": made})))

    assert read_zip_state_dict(tmp_path / "weights")["b"].tolist() == [7, 8]


def test_a_dictionary_of_old_versions_is_read(tmp_path: Path) -> None:
    """PyTorch on Python 2 wrote the pairs of a dictionary as a list of lists, and tensors by an older function."""
    made = tensor(storage("0", 6), (2, 3)).replace(b"_rebuild_tensor_v2", b"_rebuild_tensor")
    pickled = PROTO + b"ccollections\nOrderedDict\n(](](U\1w" + made + b"eetR."
    (tmp_path / "weights").write_bytes(zipped(data_pkl=pickled))

    assert read_zip_state_dict(tmp_path / "weights")["w"].tolist() == STATE["w"].tolist()


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    """float16 and bfloat16 of a safetensors file are widened without a change of their values."""
    state = {"half": np.array([1.5, -65504], np.float16), "brain": np.array([0x3FC0, 0xFF7F], np.uint16)}
    (tmp_path / "weights").write_bytes(safetensors_file(state))

    found = read_safetensors(tmp_path / "weights")

    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert found["half"].tolist() == [1.5, -65504]
    assert found["brain"].tolist() == [1.5, float(-np.float32(2**128 - 2**120))]


def test_the_header_of_safetensors_may_be_in_any_order(tmp_path: Path) -> None:
    """The place of a tensor is that of its offsets."""
    entries = dict(reversed(safetensors_header(STATE).items()))
    (tmp_path / "weights").write_bytes(safetensors_file(STATE, header=json.dumps(entries, indent=1).encode() + b"  "))

    assert read_safetensors(tmp_path / "weights")["w"].tolist() == STATE["w"].tolist()
