"""Read ahead: a thread fetches the next items while one is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None = None


def ahead(items: Iterable[T], depth: int = 1) -> Generator[T, None, None]:
    """Yield ``items``, of which a thread of its own takes up to ``depth`` before they are asked for.

    What the iteration of ``items`` raises is raised here, in its place. The thread ends with the generator:
    close it when you stop early.
    """
    ready: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
    room = threading.Semaphore(depth)
    stop = threading.Event()

    def fetch() -> None:
        try:
            taken = iter(items)
            while room.acquire() and not stop.is_set():  # room is made for each item taken, and to see the stop
                ready.put(next(taken))
        except StopIteration:
            ready.put(_End())
        except BaseException as error:
            ready.put(_End(error))

    thread = threading.Thread(target=fetch, name="fastnorm-read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            room.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        room.release()
        thread.join()
