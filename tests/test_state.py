"""Laws of state files: exact, checked on the way in, whole or not there at all."""

import base64
import hashlib
import json
import math
import os
import pickle
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import strategies as arrays
from hypothesis import given
from hypothesis import strategies as st
from processes import GUARD, run_python

from fastnorm import Normalization

NAMES = ("axis", "invert", "nan", "inf", "constant", "epsilon", "affine", "dtype", "feature_names")
X = np.random.default_rng(50).normal(5, 2, (12, 3))


def saved(layer, path):
    layer.save(path)
    return Normalization.load(path)


def state(layer):
    """All options and bits of a layer, whether it has learned something or not."""
    learned = [getattr(layer, name) for name in NAMES]
    try:
        learned += [array.tobytes() for array in layer.get_weights()]
        learned.append(layer.moments.to_bytes())
    except ValueError as error:  # not adapted, or fixed
        learned.append(str(error))
    return learned


def layer_of(x=X, names=None, **options):
    layer = Normalization(**options)
    if "mean" not in options and x is not None:
        layer.adapt(x)
    layer.feature_names = names
    return layer


# Round trips

LAYERS = {
    "plain": layer_of(),
    "not adapted": layer_of(None),
    "not adapted, affine": layer_of(None, affine=True),
    "no rows": Normalization().update(X[:0]),
    "one number": layer_of([[0.1]]),
    "all values missing": layer_of(np.full((3, 2), np.nan)),
    "weighted": Normalization().adapt(X, weights=np.linspace(0, 1, 12)),
    "inverting": layer_of(invert=True),
    "words": layer_of(nan="propagate", inf="omit", constant="epsilon", epsilon=0.1 + 0.2),
    "other words": layer_of(nan="raise", constant="raise", epsilon=0),
    "smallest epsilon": layer_of(epsilon=1e-300),
    "float16": layer_of(dtype="float16"),
    "bfloat16": layer_of(dtype=ml_dtypes.bfloat16),
    "float64": layer_of(dtype=np.float64),
    "no axis": layer_of(axis=None),
    "first axis": layer_of(axis=0),
    "two axes": layer_of(X.reshape(2, 3, 6), axis=(-1, 1)),
    "all axes": layer_of(axis=(0, 1)),
    "wide range": layer_of(arrays.wide(np.random.default_rng(1), (50, 3), np.finfo("f8"))),
    "affine": layer_of(affine=True),
    "fixed": layer_of(mean=[0.1, 1, 2], variance=[1 / 3, 4, 0]),
    "fixed scalar": layer_of(axis=None, mean=0.1, variance=2),
    "fixed, two axes": layer_of(axis=(1, 2), mean=np.ones((2, 3)), variance=np.ones((2, 3))),
    "fixed, affine": layer_of(mean=0, variance=1, affine=True),
    "names": layer_of(names=("größe", '"quoted"\n', "温度 🌡")),
    "empty names": layer_of(names=("", "", "")),
}
for _name in ("affine", "fixed, affine"):
    LAYERS[_name].gamma = 1 / 3
    LAYERS[_name].beta = -np.pi


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("form", [str, Path])
def test_a_saved_layer_comes_back_whole(name, form, tmp_path):
    """Every option, every bit of the moments, fixed statistics, the pair and the names."""
    layer = LAYERS[name]
    before = state(layer)
    path = form(tmp_path / "state.json")
    assert layer.save(path) is None
    read = Normalization.load(path)
    assert type(read) is Normalization
    assert before == state(layer) == state(read)
    assert [path] == [form(p) for p in tmp_path.iterdir()]


@pytest.mark.parametrize("name", LAYERS)
def test_a_loaded_layer_goes_on(name, tmp_path):
    """It transforms, learns and forgets as the one that was saved, and writes the same file."""
    layer = pickle.loads(pickle.dumps(LAYERS[name]))
    read = saved(layer, tmp_path / "state.json")
    read.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "state.json").read_bytes()
    x = np.resize(X, (4, 2, 3)) if "two axes" in name else X
    if name == "two axes":
        x = X.reshape(2, 3, 6)
    if name in ("one number", "all values missing"):
        x = X[:, : read.moments.shape[0]]
    if "fixed" not in name:
        for one in (layer, read):
            one.update(x).update(2 * x).forget(x)
    assert state(layer) == state(read)
    if name != "other words":
        assert layer.transform(x).tobytes() == read.transform(x).tobytes()


@given(
    arrays.cases(with_rows=True),
    st.sampled_from(["omit", "propagate"]),
    st.sampled_from(["center", "epsilon"]),
    st.just(0.0) | st.floats(1e-300, allow_infinity=False),
    st.booleans(),
)
def test_any_layer_comes_back_whole(tmp_path_factory, case, nan, constant, epsilon, affine):
    """Data of any dtype, magnitude, shape and axis leave a state that a file keeps exactly."""
    x, axis = case
    if not x.size:
        return
    options = {"nan": nan, "constant": constant, "epsilon": epsilon, "affine": affine}
    layer = Normalization(axis, inf="omit", **options).adapt(x)
    if affine:
        layer.gamma = 1 + np.random.default_rng(1).random(layer.gamma.shape)
    read = saved(layer, tmp_path_factory.getbasetemp() / "any.json")
    assert state(layer) == state(read)
    assert layer.transform(x).tobytes() == read.transform(x).tobytes()


def test_many_features_come_back_whole(tmp_path):
    """A wide table with names for all its columns."""
    n = 200 if arrays.UNJITTED else 20_000
    layer = layer_of(np.random.default_rng(2).normal(size=(3, n)), tuple(map(str, range(n))))
    assert state(layer) == state(saved(layer, tmp_path / "state.json"))


def test_a_set_state_comes_back_whole(tmp_path):
    """Weights from elsewhere are kept bit for bit as well."""
    layer = Normalization()
    layer.set_weights([[0.1, 1e300, -5e-324], [1 / 3, 1e-300, 0], 2**53 - 1])
    assert state(layer) == state(saved(layer, tmp_path / "state.json"))


def test_a_state_file_is_what_the_documentation_says(tmp_path):
    """JSON with format, version and checksum, and nothing that is executed."""
    layer = LAYERS["names"]
    layer.save(tmp_path / "state.json")
    document = json.loads((tmp_path / "state.json").read_text("utf-8"))
    assert ("fastnorm state", 1) == (document["format"], document["version"])
    assert list(layer.feature_names) == document["feature_names"]
    assert layer.moments.to_bytes() == base64.b64decode(document["moments"])
    assert document == sealed({k: v for k, v in document.items() if k != "sha256"})
    shuffled = dict(sorted(document.items(), reverse=True))
    (tmp_path / "other.json").write_text(json.dumps(shuffled), "utf-8")  # order and spaces are free
    assert state(layer) == state(Normalization.load(tmp_path / "other.json"))


def sealed(document):
    """Return a document with the checksum of docs/state.md."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return document | {"sha256": hashlib.sha256(canonical.encode("ascii")).hexdigest()}


# Damage


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


# Saving is atomic


def only(folder, *names):
    return sorted(path.name for path in Path(folder).iterdir()) == sorted(names)


def test_saving_where_nothing_can_be_saved_leaves_nothing(tmp_path):
    """A folder that is missing, or a name that is a folder: an error, and no file is left."""
    with pytest.raises(FileNotFoundError):
        LAYERS["plain"].save(tmp_path / "missing" / "state.json")
    assert only(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="is a folder"):
        LAYERS["plain"].save(tmp_path / "folder")
    assert only(tmp_path, "folder")
    assert only(tmp_path / "folder")


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    """A layer whose names are not text is refused, and the earlier file stays."""
    path = tmp_path / "state.json"
    LAYERS["plain"].save(path)
    before = path.read_bytes()
    for names in ((1j,), ("\ud800",), 7):
        with pytest.raises((TypeError, ValueError)):
            layer_of(names=names).save(path)
        assert before == path.read_bytes()
        assert only(tmp_path, "state.json")


FULL = """
    import os, resource, sys
    from fastnorm import Normalization

    path, big = sys.argv[1:]
    layer = Normalization.load(big)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # as on a full disk: a write fails
    try:
        layer.save(path)
    except OSError as error:
        print(type(error).__name__)
"""


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    """When a write fails half-way, the earlier file is as it was and the temporary one is gone."""
    path, big = tmp_path / "state.json", tmp_path / "big.json"
    LAYERS["plain"].save(path)
    before = path.read_bytes()
    layer_of(np.random.default_rng(3).normal(size=(3, 200))).save(big)
    assert ["OSError"] == run_python(FULL, str(path), str(big))
    assert before == path.read_bytes()
    assert only(tmp_path, "state.json", "big.json")
    assert ["OSError"] == run_python(FULL, str(tmp_path / "new.json"), str(big))
    assert only(tmp_path, "state.json", "big.json")


KILLED = """
    import os, random, signal, sys, time
    from pathlib import Path
    from fastnorm import Normalization

    folder, tries = Path(sys.argv[1]), int(sys.argv[2])
    layers = [Normalization.load(folder / name) for name in ("a.json", "b.json")]
    valid = [(folder / name).read_bytes() for name in ("a.json", "b.json")]
    path = folder / "state.json"
    start = time.perf_counter()
    layers[0].save(path)
    duration = time.perf_counter() - start
    random.seed()
    for _ in range(tries):
        ready, go = os.pipe()
        child = os.fork()
        if not child:
            os.write(go, b"!")
            while True:
                for layer in layers:
                    layer.save(path)
        os.read(ready, 1)
        time.sleep(random.uniform(0, 3 * duration))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready), os.close(go)
        found = path.read_bytes()
        print(valid.index(found) if found in valid else "damaged")
        Normalization.load(path)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_killed_save_leaves_the_old_file_or_the_new(tmp_path):
    """A process that is killed at any moment of saving leaves one of the two files, whole."""
    n = 50 if arrays.UNJITTED else 10_000
    for name, seed in (("a.json", 4), ("b.json", 5)):
        layer_of(np.random.default_rng(seed).normal(size=(3, n))).save(tmp_path / name)
    tries = 25
    found = run_python(KILLED, str(tmp_path), str(tries))
    assert tries == len(found)
    assert set(found) <= {"0", "1"}


def test_readers_and_writers_do_not_meet(tmp_path):
    """While threads save two layers to one path, each load sees one of them."""
    layers = [LAYERS["plain"], LAYERS["wide range"]]
    states = [state(layer) for layer in layers]
    path = tmp_path / "state.json"
    layers[0].save(path)
    failures = []

    def work(layer):
        try:
            for _ in range(20):
                layer.save(path)
                assert state(Normalization.load(path)) in states
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(layer,)) for layer in layers * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)
    assert failures == []
    assert only(tmp_path, "state.json")


@pytest.mark.skipif(os.name != "posix", reason="permissions are a matter of POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o400])
def test_a_file_keeps_its_permissions(tmp_path, mode):
    """Saving over a file leaves its mode; a new one gets what the umask says."""
    path = tmp_path / "state.json"
    umask = os.umask(0o027)
    try:
        LAYERS["plain"].save(path)
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(mode)
        LAYERS["fixed"].save(path)
        assert path.stat().st_mode & 0o777 == mode
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(umask)
    assert math.isclose(Normalization.load(path).mean[0], 0.1)


@pytest.mark.parametrize("name", ["state", "no suffix.", ".hidden", "größe 温度.json", "a b.json"])
def test_a_file_may_have_any_name(tmp_path, name, monkeypatch):
    """Spaces, dots, other alphabets, relative paths."""
    monkeypatch.chdir(tmp_path)
    LAYERS["plain"].save(name)
    assert only(tmp_path, name)
    assert state(LAYERS["plain"]) == state(Normalization.load(tmp_path / name))
