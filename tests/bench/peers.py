"""Other tools of the kind, measured by the same yardstick where they are installed.

Each drains the same jobs: the line is filled behind blockers that read a FIFO, and timed from
the moment when these are let go.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench import libraries
from tests.bench.figure import Contestant, Figure
from tests.bench.lab import seconds

# tsp keeps so many jobs in a line without a word; beyond, a client waits. A job of nq is a process
# that waits for all before it: its time grows with the square of the line.
_LINES = {"tsp": 900, "nq": 100}


def drains(folder: Path, jobs: int) -> list[Contestant | Figure]:
    """Give those that can drain, and for each that is missing a line that says so."""
    found: list[Contestant | Figure] = []
    for name, drain in (("tsp", _tsp_drain), ("nq", _nq_drain)):
        path = shutil.which(name)
        if path:
            count = min(jobs, _LINES[name])
            # As if it had been given as many jobs as the others.
            found.append(
                Contestant(
                    f"{name} drain",
                    lambda drain=drain, path=path, count=count: (  # type: ignore[misc]
                        drain(path, folder, count) * jobs / count
                    ),
                )
            )
        else:
            found.append(_missing(f"drain-{name}", f"{name} is not installed"))
    return found + _libraries(folder, "drain", lambda name, home: _some(name, home, jobs))


def enqueues(folder: Path) -> list[Contestant | Figure]:
    """Give those that can enqueue, and for each that is missing a line that says so."""
    found: list[Contestant | Figure] = []
    for name in ("tsp", "nq"):
        path = shutil.which(name)
        if path:
            home = _home(folder, f"{name}-enqueue")
            command = [path, "true"]
            found.append(
                Contestant(
                    f"{name} true",
                    lambda command=command, home=home: _enqueue(command, home),  # type: ignore[misc]
                )
            )
        else:
            found.append(_missing(f"enqueue-{name}", f"{name} is not installed"))
    return found + _libraries(folder, "enqueue", libraries.enqueue)


def _some(name: str, home: dict[str, str], jobs: int) -> float:
    """Time as many jobs as tell the rate; give what all of them would take."""
    count = min(jobs, libraries.LINE)
    return libraries.drain(name, home, count) * jobs / count


def _libraries(
    folder: Path, kind: str, time_one: Callable[[str, dict[str, str]], float]
) -> list[Contestant | Figure]:
    """Give the task queues that this interpreter can import."""
    found: list[Contestant | Figure] = []
    for name in ("huey", "rq"):
        home = _home(folder, f"{name}-{kind}")
        if importlib.util.find_spec(name) is None:
            found.append(_missing(f"{kind}-{name}", f"{name} is not installed"))
        elif name == "rq" and not shutil.which("redis-server"):
            found.append(_missing(f"{kind}-{name}", "redis-server is not installed"))
        else:
            found.append(Contestant(f"{name} {kind}", partial(time_one, name, home)))
    return found


def _missing(name: str, why: str) -> Figure:
    return Figure(name, "", missing=why)


def _home(folder: Path, name: str) -> dict[str, str]:
    """Give an environment in which a tool keeps everything in our directory."""
    home = folder / name
    home.mkdir(exist_ok=True)
    return {
        "TS_SOCKET": str(home / "socket"), "TS_MAXFINISHED": "5", "TMPDIR": str(home),
        "NQDIR": str(home), "HOME": str(home), "PATH": os.environ["PATH"],
        "QUEUECTL_DB": str(folder / "q.db"),  # a mark: what is left behind is found by it
    }  # fmt: skip


def _enqueue(command: list[str], home: dict[str, str]) -> float:
    took = seconds(command, env=home, cwd=home["HOME"])
    subprocess.run([command[0], "-w"], env=home, check=False, capture_output=True)
    return took


def clear(folder: Path) -> None:
    """End the servers that stayed."""
    tsp = shutil.which("tsp")
    for home in folder.glob("tsp-*"):
        if tsp and (home / "socket").exists():
            subprocess.run(
                [tsp, "-K"], env=_home(folder, home.name), check=False, capture_output=True
            )


def _tsp_drain(tsp: str, folder: Path, jobs: int) -> float:
    home = _home(folder, "tsp-drain")
    call = lambda *words: subprocess.run(  # noqa: E731
        [tsp, *words], env=home, check=True, capture_output=True
    )
    call("-S", "2")
    try:
        return _behind_blockers(home, lambda *words: call("-n", *words), jobs, 2)
    finally:
        call("-K")


def _nq_drain(nq: str, folder: Path, jobs: int) -> float:
    home = _home(folder, "nq-drain")
    return _behind_blockers(
        home,
        lambda *words: subprocess.run([nq, "-q", *words], env=home, check=True),
        jobs,
        1,
    )


def _behind_blockers(home: dict[str, str], call: object, jobs: int, blockers: int) -> float:
    folder = Path(home["HOME"])
    gate, counted = folder / "gate", folder / "F"
    if not gate.exists():
        os.mkfifo(gate)
    counted.write_bytes(b"")
    for _ in range(blockers):
        call("sh", "-c", f"cat {gate}")  # type: ignore[operator]
    for _ in range(jobs):
        call("sh", "-c", f"printf x >>{counted}")  # type: ignore[operator]
    writer = os.open(gate, os.O_WRONLY)
    began = time.perf_counter()
    os.close(writer)
    while counted.stat().st_size < jobs:
        time.sleep(0.003)
    return time.perf_counter() - began
