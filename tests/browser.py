"""A real Chromium, without a window, with nothing kept from one run to the next."""

import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--enable-logging=stderr", "--hide-scrollbars", "--window-size=500,600", "--virtual-time-budget=2000"),
)
DARK = "--blink-settings=preferredColorScheme=0"


def open_page(path, *options, address=""):
    """Open a page; return what the browser prints, and the lines of its console."""
    with tempfile.TemporaryDirectory() as profile:
        url = Path(path).absolute().as_uri() + address
        words = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *options, url]
        run = subprocess.run(words, check=True, capture_output=True, text=True, timeout=120)
    return run.stdout, [line for line in run.stderr.splitlines() if ":CONSOLE" in line]


def dom_of(path, address=""):
    """The document after its scripts have run."""
    dom, console = open_page(path, "--dump-dom", address=address)
    assert [] == console
    return dom


def screenshot(path, *options):
    """What a reader sees, as an array (rows, columns, channels)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "page.png")
        _, console = open_page(path, f"--screenshot={file}", *options)
        assert [] == console
        return pixels(file.read_bytes())


def pixels(png):
    """The pixels of a PNG file with 8 bits a channel, as Chromium writes it."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(png):
        size, kind = struct.unpack_from(">I4s", png, place)
        chunks[kind] = chunks.get(kind, b"") + png[place + 8 : place + 8 + size]
        place += 12 + size
    columns, rows, depth, color = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    channels = {2: 3, 6: 4}[color]
    assert depth == 8
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, 1 + columns * channels)
    out, above = [], bytes(columns * channels)
    for line in lines.tolist():
        above = _unfiltered(line[0], line[1:], above, channels)
        out.append(above)
    return np.array(out, np.uint8).reshape(rows, columns, channels)


def _unfiltered(kind, line, above, channels):
    """A line without its filter, which guesses a value from its neighbours."""
    for place in range(len(line) if kind else 0):
        left, corner = (line[place - channels], above[place - channels]) if place >= channels else (0, 0)
        up = above[place]
        near = min((left, up, corner), key=lambda value: abs(left + up - corner - value)) if kind == 4 else 0
        line[place] = line[place] + (0, left, up, (left + up) // 2, near)[kind] & 255
    return line
