"""Laws of state files: exact, whole or not there at all."""

import base64
import json
import math
import os
import pickle
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import strategies as arrays
from crashes import before_each_call, error_of, forked, in_child
from hypothesis import given
from hypothesis import strategies as st
from processes import GUARD, run_python
from states import LAYERS, X, layer_of, saved, sealed, state

from fastnorm import Normalization
from fastnorm.files._beside import locked


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


# Saving is atomic


def only(folder, *names):
    return sorted(path.name for path in Path(folder).iterdir()) == sorted(names)


def test_saving_where_nothing_can_be_saved_leaves_nothing(tmp_path):
    """A folder that is missing, or a name that is a folder: an error, and no file is left."""
    missing = tmp_path / "missing" / "state.json"
    with pytest.raises(
        FileNotFoundError, match=f"there is no such folder; make it first: {missing.parent}: '{missing}'"
    ):
        LAYERS["plain"].save(missing)
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
        print(error.filename, error.strerror)
"""


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    """When a write fails half-way, the error names the file and a cure; the earlier one is as it was."""
    path, big = tmp_path / "state.json", tmp_path / "big.json"
    LAYERS["plain"].save(path)
    before = path.read_bytes()
    layer_of(np.random.default_rng(3).normal(size=(3, 200))).save(big)
    why = "File too large; raise the limit of file sizes (ulimit -f), then repeat the call"
    assert [str(path), *why.split()] == run_python(FULL, str(path), str(big))
    assert before == path.read_bytes()
    assert only(tmp_path, "state.json", "big.json")
    assert [str(tmp_path / "new.json"), *why.split()] == run_python(FULL, str(tmp_path / "new.json"), str(big))
    assert only(tmp_path, "state.json", "big.json")


@pytest.mark.posix
def test_a_folder_that_may_not_be_written_is_an_error_about_the_file(in_memory):
    """With its name and a cure, not that of the hidden file which would have become it."""
    path = in_memory / "state.json"
    in_memory.chmod(0o555)

    def work():
        if os.geteuid() == 0:
            os.setuid(65534)  # nobody: root may write everywhere
        error = error_of(lambda: LAYERS["plain"].save(path))
        assert isinstance(error, PermissionError)
        assert str(path) == error.filename
        assert "; get the permission for it" in error.strerror

    assert 0 == in_child(work)
    assert only(in_memory)


@pytest.mark.posix
def test_what_a_killed_save_left_goes_with_the_next(tmp_path):
    """The half-written file of a dead process is removed, and that of a living one stays until it is done."""
    path = tmp_path / "state.json"
    (ready, at_work), (wait, go) = os.pipe(), os.pipe()

    def held(name, arguments):
        if name == "replace":
            os.write(at_work, b"!")
            os.read(wait, 1)

    def work():
        with before_each_call(held):
            LAYERS["fixed"].save(path)

    for lives in (False, True):
        child = forked(work)
        os.read(ready, 1)
        if not lives:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert 1 + lives == len(list(tmp_path.iterdir()))
        LAYERS["plain"].save(path)
        assert 1 + lives == len(list(tmp_path.iterdir()))
        assert state(LAYERS["plain"]) == state(Normalization.load(path))
    os.write(go, b"!")
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert only(tmp_path, "state.json")
    assert state(LAYERS["fixed"]) == state(Normalization.load(path))
    for end in (ready, at_work, wait, go):
        os.close(end)


@pytest.mark.posix
def test_a_link_and_its_file_have_one_lock(tmp_path):
    """Who writes by the one name keeps away who would write by the other."""
    (tmp_path / "link").symlink_to("file")
    with locked(tmp_path / "link"), pytest.raises(BlockingIOError), locked(tmp_path / "file"):
        pass
    assert only(tmp_path, "link")


@pytest.mark.posix
def test_a_link_to_itself_is_no_place(tmp_path):
    """It stays what it is, and the error says so."""
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    with pytest.raises(OSError, match="leads back to itself"):
        Normalization().adapt([[1.0]]).save(loop)
    assert loop.is_symlink()


def test_a_layer_that_forgot_everything_keeps_its_gamma(tmp_path):
    """What was set goes with the features, which are still known."""
    layer = Normalization(affine=True).adapt([[1.0], [3.0]])
    layer.gamma = [2.0]
    layer.forget([[1.0], [3.0]]).save(tmp_path / "state.json")
    again = Normalization.load(tmp_path / "state.json").update([[1.0], [3.0]])
    assert [[-2.0], [2.0]] == again.transform([[1.0], [3.0]]).tolist()


@pytest.mark.posix
def test_saving_to_a_link_writes_the_file_it_leads_to(tmp_path):
    """The link stays one, whether its file is there yet or not, and nothing else lies in either folder."""
    (tmp_path / "far").mkdir()
    link, file = tmp_path / "link.json", tmp_path / "far" / "state.json"
    link.symlink_to(Path("far") / "state.json")
    for name in ("plain", "fixed"):
        LAYERS[name].save(link)
        assert link.is_symlink()
        assert not file.is_symlink()
        assert state(LAYERS[name]) == state(Normalization.load(file))
    assert only(tmp_path, "far", "link.json")
    assert only(tmp_path / "far", "state.json")


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


@pytest.mark.posix
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


@pytest.mark.posix
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


LONG = ["x" * 250, "温" * 80]


@pytest.mark.parametrize("name", ["state", "no suffix.", ".hidden", "größe 温度.json", "a b.json", *LONG])
def test_a_file_may_have_any_name(tmp_path, name, monkeypatch):
    """Spaces, dots, other alphabets, relative paths."""
    monkeypatch.chdir(tmp_path)
    LAYERS["plain"].save(name)
    assert only(tmp_path, name)
    assert state(LAYERS["plain"]) == state(Normalization.load(tmp_path / name))
