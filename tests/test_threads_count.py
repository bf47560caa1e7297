"""Laws of how many threads there are: the argument, the variable, the machine."""

import os

import pytest
from pools import in_a_forked_child
from processes import run_python

from fastnorm import _threads
from fastnorm._threads import available, count

pytestmark = pytest.mark.usefixtures("fresh_pool_and_handler")

VARIABLE = "FASTNORM_NUM_THREADS"


@pytest.mark.parametrize("variable", ["3", "nonsense"])
def test_an_explicit_number_of_threads_wins(monkeypatch, variable):
    """The variable is not even looked at when the caller says a number."""
    monkeypatch.setenv(VARIABLE, variable)
    assert 5 == count(5)


def test_the_variable_wins_over_the_machine_at_each_call(monkeypatch):
    """Setting FASTNORM_NUM_THREADS takes effect at once, and so does unsetting it."""
    for number in (available() + 1, available() + 2):
        monkeypatch.setenv(VARIABLE, str(number))
        assert number == count()
    monkeypatch.setenv(VARIABLE, "")
    assert available() == count()
    monkeypatch.delenv(VARIABLE)
    assert available() == count()


@pytest.mark.parametrize("text", ["0", "-2", "two", "2.5", " "])
def test_a_bad_variable_is_named_with_its_value(monkeypatch, text):
    """The error says which variable, what it holds, what it must be and how to cure it."""
    monkeypatch.setenv(VARIABLE, text)
    words = f"{VARIABLE} is {text!r}, but must be a whole number of at least 1; .*unset it"
    with pytest.raises(ValueError, match=words):
        count()


@pytest.mark.parametrize("number", [0, -1])
def test_fewer_than_one_thread_is_an_error(number):
    """The error says what was got, what is wanted and the cure."""
    with pytest.raises(ValueError, match=f"threads is {number}, .* at least 1; pass 1 or more"):
        count(number)


@pytest.mark.parametrize("thing", [True, False, 2.0, "2", [2]])
def test_threads_is_a_whole_number(thing):
    """A bool, a float, a text or a list is no number of threads, and the error shows it."""
    kind = type(thing).__name__
    with pytest.raises(TypeError, match=rf"threads is .*, a {kind}, .* whole number; pass 1"):
        count(thing)


def test_the_machine_gives_no_more_than_the_affinity_mask():
    """A process pinned to one CPU uses one worker, whatever the machine has."""
    code = """
        import os
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            from fastnorm._threads import count
            print(count())
        else:
            print(1)
    """
    assert ["1"] == run_python(code)
    assert 1 <= available() <= os.cpu_count()


V1 = "5:cpuset:/else\n4:cpu,cpuacct:/a/b\n0::/ignored\n"
V2 = "0::/a/b\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, errors="surrogateescape")


def quota_files(folder, quota, period=100_000):
    return {
        f"{folder}/cpu.cfs_quota_us": f"{quota}\n",
        f"{folder}/cpu.cfs_period_us": f"{period}\n",
    }


@pytest.mark.parametrize(
    ("own", "files", "cpus"),
    [
        (V2, {"a/b/cpu.max": "200000 100000\n"}, 2),
        (V2, {"a/b/cpu.max": "200001 100000\n"}, 3),
        (V2, {"a/b/cpu.max": "1000 100000\n"}, 1),
        (V2, {"a/b/cpu.max": "75000 50000\n"}, 2),
        (V2, {"a/b/cpu.max": "max 100000\n"}, None),
        (V2, {"a/b/cpu.max": "700000 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        (V2, {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "700000 100000\n"}, 3),
        (V2, {"a/b/cpu.max": "max 100000\n", "cpu.max": "500000 100000\n"}, 5),
        (V2, {"a/c/cpu.max": "100000 100000\n"}, None),
        (V2, {"unified/a/cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/../../a\n", {"a/cpu.max": "400000 100000\n"}, 4),
        ("0::/host/pod7\n", {"cpu.max": "600000 100000\n"}, 6),
        (V1, quota_files("cpu/a/b", 250_000), 3),
        (V1, quota_files("cpu,cpuacct/a/b", 250_000), 3),
        (V1, quota_files("cpu/a/b", -1) | quota_files("cpu/a", 400_000), 4),
        (V1, quota_files("cpu", 400_000, 200_000), 2),
        (V1, quota_files("cpu/a/b", -1), None),
        (V1, quota_files("cpu/else", 100_000), None),
        (V1, quota_files("cpuset/else", 100_000), None),
        (V2, {"a/b/cpu.max": "nonsense\n"}, None),
        (V2, {"a/b/cpu.max": "100000 0\n"}, None),
        (V2, {"a/b/cpu.max": "\udcff\udcfe"}, None),
        ("nonsense\n\n", {}, None),
        (V1 + V2, {}, None),
    ],
)
def test_the_smallest_quota_on_the_way_up_counts(tmp_path, own, files, cpus):
    """Both versions of the files are read, from the own group up; an unreadable one is no limit."""
    write(tmp_path / "proc/self/cgroup", own)
    for name, text in files.items():
        write(tmp_path / "sys/fs/cgroup" / name, text)
    free = available(str(tmp_path / "nothing"))
    assert cpus == min(_threads._quotas(str(tmp_path)), default=None)
    assert min(free, cpus or free) == available(str(tmp_path))


def test_import_stays_light():
    """Importing the room loads neither numpy nor the slow half of the standard library."""
    code = """
        import sys
        from fastnorm import _threads
        print(*{"numpy", "numba", "logging", "concurrent.futures", "signal"} & set(sys.modules))
    """
    assert [] == run_python(code)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_counts_its_cpus_itself(tmp_path):
    """A child that moved to another cgroup or CPU mask after the fork sees its own limits."""
    write(tmp_path / "proc/self/cgroup", V2)
    before = available(str(tmp_path))
    write(tmp_path / "sys/fs/cgroup/cpu.max", "100000 100000")
    assert before == available(str(tmp_path)), "counted once"
    assert 0 == in_a_forked_child(lambda: available(str(tmp_path)) == 1)
