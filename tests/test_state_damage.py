"""Laws of files that are damaged or foreign: refused by name."""

import base64
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from states import LAYERS, layer_of, sealed, state

from fastnorm import Normalization


@pytest.fixture
def small(tmp_path):
    """A small layer, its file and the bytes in it."""
    layer = layer_of([[0.5, 3.0], [1.5, np.nan]], ("höhe", "b"), affine=True)
    layer.gamma = [2, 3]
    path = tmp_path / "kept state.json"
    layer.save(path)
    return layer, path, path.read_bytes()


def outcome(path, data):
    """Write bytes and load them: the state, or the words of the ValueError."""
    path.write_bytes(data)
    try:
        return state(Normalization.load(path))
    except ValueError as error:
        return str(error)


def assert_refused_or_equal(path, data, layer):
    found = outcome(path, data)
    if isinstance(found, str):
        assert path.name in found, f"the error does not name the file: {found}"
    else:
        assert state(layer) == found


def test_every_truncation_is_an_error(small):
    """A file that ends early, wherever, is named; without its last line feed it is whole."""
    layer, path, data = small
    for length in range(len(data) - 1):
        found = outcome(path, data[:length])
        assert isinstance(found, str), length
        assert path.name in found, (length, found)
    assert_refused_or_equal(path, data[:-1], layer)


@pytest.mark.parametrize("flip", [1, 2, 0x10, 0x20, 0x80, 0xFF])
def test_every_changed_byte_is_noticed_or_without_meaning(small, flip):
    """An error that names the file, or the same content: white space, 1E-07 for 1e-07."""
    layer, path, data = small
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= flip
        assert_refused_or_equal(path, bytes(damaged), layer)


@given(st.data())
def test_any_damage_is_noticed_or_without_meaning(tmp_path_factory, data):
    """Bytes replaced, removed, doubled or inserted anywhere."""
    path = tmp_path_factory.getbasetemp() / "damaged state.json"
    layer = LAYERS["words"]
    layer.save(path)
    whole = path.read_bytes()
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    other = data.draw(st.binary(max_size=8) | st.sampled_from([b"0", b"1", b'"', b",", b"{", b" "]))
    piece = data.draw(st.sampled_from([other, b"", 2 * whole[first:last]]))
    short = data.draw(st.booleans())
    end = min(last, first + 3) if short else last
    assert_refused_or_equal(path, whole[:first] + piece + whole[end:], layer)


FOREIGN = {
    "empty": b"",
    "line feed": b"\n",
    "null": b"null",
    "number": b"42",
    "text": b'"fastnorm state"',
    "list": b"[1, 2]",
    "object": b'{"a": 1}',
    "object of another format": b'{"format": "keras", "version": 1}',
    "format is a list": b'{"format": ["fastnorm state"], "version": 1}',
    "prose": b"mean,variance\n1,2\n",
    "NaN": b"NaN",
    "zeros": bytes(1000),
    "high bytes": bytes(range(128, 256)),
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "gzip": b"\x1f\x8b\x08" + bytes(50),
    "pickle": pickle.dumps({"format": "fastnorm state"}),
    "UTF-16": '{"format": "fastnorm state"}'.encode("utf-16"),
    "deep nesting": b"[" * 100_000,
    "deep nesting inside": b'{"format": "fastnorm state", "a": ' + b"[" * 100_000,
    "endless number": b"1" * 100_000,
    "moments": LAYERS["plain"].moments.to_bytes(),
    "dict of moments": json.dumps(LAYERS["plain"].moments.to_dict()).encode(),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_an_error(name, tmp_path):
    """The error names the file and says what was expected."""
    path = tmp_path / "foreign file.json"
    path.write_bytes(FOREIGN[name])
    with pytest.raises(ValueError, match=r"foreign file\.json.*(not a|damaged|incomplete)"):
        Normalization.load(path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_in_json_is_an_error(small, number):
    """Python would read it; the error names the file."""
    _, path, data = small
    path.write_bytes(data.replace(b"1e-07", number.encode()))
    with pytest.raises(ValueError, match=r"kept state\.json is damaged"):
        Normalization.load(path)


@pytest.mark.parametrize("version", [2, 99, 0, -1, "1", None, 1.5, [1], {}])
def test_another_version_is_an_error(small, version):
    """The error names the file and the version, and says to update."""
    _, path, data = small
    document = json.loads(data)
    del document["sha256"]
    path.write_text(json.dumps(sealed(document | {"version": version})))
    with pytest.raises(ValueError, match=r"version.*[Uu]pdate") as error:
        Normalization.load(path)
    assert path.name in str(error.value)


def test_a_newer_version_may_look_different(tmp_path):
    """What comes after the version is not looked at before it is known."""
    path = tmp_path / "newer state.json"
    path.write_text('{"format": "fastnorm state", "version": 2, "crc": 7}')
    with pytest.raises(ValueError, match=r"version 2.*[Uu]pdate") as error:
        Normalization.load(path)
    assert path.name in str(error.value)


MOMENTS = base64.b64encode(LAYERS["plain"].moments.to_bytes()).decode()
CHANGES = {
    "another class": {"class": "BatchNormalization"},
    "no class": {"class": None},
    "no config": {"config": {}},
    "config is a list": {"config": []},
    "an unknown option": {"config": {"momentum": 1}},
    "an unknown word": {"config": {"nan": "ignore"}},
    "a bad epsilon": {"config": {"epsilon": "small"}},
    "a bad dtype": {"config": {"dtype": "int8"}},
    "an unknown dtype": {"config": {"dtype": "float3"}},
    "a bad axis": {"config": {"axis": "last"}},
    "an axis that the features lack": {"config": {"axis": [0, 1]}},
    "features without an axis": {"config": {"axis": None}},
    "an endless epsilon": {"config": {"epsilon": 10**400}},
    "moments are no text": {"moments": 7},
    "moments are no base64": {"moments": "!"},
    "moments are others": {"moments": "aGVsbG8="},
    "moments are cut": {"moments": MOMENTS[:40]},
    "fixed and moments": {"fixed": [{"shape": [], "float64": "AAAAAAAA8D8="}] * 2},
    "one fixed array": {"fixed": [{"shape": [], "float64": "AAAAAAAA8D8="}], "moments": None},
    "gamma of another shape": {"gamma": {"shape": [2], "float64": base64.b64encode(bytes(16)).decode()}},
    "gamma is cut": {"gamma": {"shape": [3], "float64": "AAAA"}},
    "gamma without shape": {"gamma": {"float64": ""}},
    "names are a number": {"feature_names": 3},
    "names are numbers": {"feature_names": [1, 2, 3]},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_without_sense_is_an_error(name, tmp_path):
    """Even with the right checksum, what no layer could have written is refused by name."""
    path = tmp_path / "senseless state.json"
    LAYERS["affine"].save(path)
    document = json.loads(path.read_text())
    del document["sha256"]
    change = CHANGES[name]
    if change.get("config"):
        change = {"config": document["config"] | change["config"]}
    document = {k: v for k, v in (document | change).items() if v is not None or k != "moments"}
    path.write_text(json.dumps(sealed(document)))
    with pytest.raises(ValueError, match=r"senseless state\.json"):
        Normalization.load(path)


@pytest.mark.parametrize("key", ["config", "class", "feature_names", "sha256", "version", "format"])
def test_a_missing_key_is_an_error(small, key):
    """The error names the file, not just the key."""
    _, path, data = small
    document = json.loads(data)
    document.pop("sha256")
    document.pop(key, None)
    path.write_text(json.dumps(document if key == "sha256" else sealed(document)))
    with pytest.raises(ValueError, match=r"kept state\.json"):
        Normalization.load(path)


def test_a_missing_file_is_an_error(tmp_path):
    """The error is the one that Python gives, with the name."""
    with pytest.raises(FileNotFoundError, match="nothing"):
        Normalization.load(tmp_path / "nothing.json")
    with pytest.raises(OSError, match=r"(?i)directory|denied"):
        Normalization.load(tmp_path)
