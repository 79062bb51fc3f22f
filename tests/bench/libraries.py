"""Task queues that are Python libraries, huey and RQ: how fast they run the same shell jobs.

They have no command that enqueues a line, so a few lines of Python stand in for one.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.lab import seconds

# Enough to see the rate; the slower of the two runs some thirty a second.
LINE = 200
_PATIENCE_S = 120

_TASKS = {
    "huey": """
import subprocess
from huey import SqliteHuey
huey = SqliteHuey(filename={home!r} + "/huey.db")
@huey.task()
def shell(command):
    subprocess.call(["/bin/sh", "-c", command])
""",
    "rq": """
from redis import Redis
from rq import Queue
queue = Queue(connection=Redis(unix_socket_path={home!r} + "/socket"))
def shell(command):
    queue.enqueue("subprocess.call", ["/bin/sh", "-c", command])
""",
}


def drain(name: str, home: dict[str, str], jobs: int) -> float:
    """Let two workers run so many jobs; give the seconds from the first to the last."""
    folder = _folder(name, home)
    counted = folder / "F"
    counted.write_bytes(b"")
    with _server(name, home):
        command = f"printf x >>{counted}"
        _python(home, f"from tasks import shell\nfor _ in range({jobs}): shell({command!r})")
        with _workers(name, home):
            _wait_counted(counted, 1)
            began = time.perf_counter()
            _wait_counted(counted, jobs)
            return time.perf_counter() - began


def enqueue(name: str, home: dict[str, str]) -> float:
    """Put one job in, as a whole process; give the seconds."""
    _folder(name, home)
    with _server(name, home):
        program = [sys.executable, "-c", "from tasks import shell; shell('true')"]
        return seconds(program, env=home, cwd=home["HOME"])


def _folder(name: str, home: dict[str, str]) -> Path:
    folder = Path(home["HOME"])
    (folder / "tasks.py").write_text(_TASKS[name].format(home=str(folder)))
    return folder


def _python(home: dict[str, str], program: str) -> None:
    subprocess.run([sys.executable, "-c", program], env=home, cwd=home["HOME"], check=True)


@contextlib.contextmanager
def _server(name: str, home: dict[str, str]) -> Iterator[None]:
    """Run what the library needs beside its workers: for RQ a Redis on a socket of ours."""
    if name != "rq":
        yield
        return
    socket = Path(home["HOME"]) / "socket"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with _running([command], home):
        deadline = time.monotonic() + _PATIENCE_S
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.003)
        yield
    socket.unlink(missing_ok=True)


def _workers(name: str, home: dict[str, str]) -> contextlib.AbstractContextManager[None]:
    tool = Path(sys.executable).parent
    if name == "huey":
        return _running([[str(tool / "huey_consumer"), "tasks.huey", "-w2", "-kprocess"]], home)
    url = f"unix://{home['HOME']}/socket"
    return _running([[str(tool / "rq"), "worker", "--url", url]] * 2, home)


@contextlib.contextmanager
def _running(commands: list[list[str]], home: dict[str, str]) -> Iterator[None]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [
        subprocess.Popen(command, env=home, cwd=home["HOME"], **quiet)  # type: ignore[call-overload]
        for command in commands
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(_PATIENCE_S)


def _wait_counted(counted: Path, jobs: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while counted.stat().st_size < jobs:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{counted.stat().st_size} of {jobs} jobs in {_PATIENCE_S} s")
        time.sleep(0.003)
