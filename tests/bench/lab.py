"""A place of our own to measure in: nothing outside it is touched, nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path

from queuectl import Queue
from tests.support import ROOT, Sandbox, wait_for

_SCRIPT = "import sys\nfrom queuectl.cli import entry\nsys.exit(entry())\n"


class Lab(Sandbox):
    """A sandbox with the command as pip would install it, and the queue as Python sees it."""

    def __init__(self) -> None:
        super().__init__()
        refuse_foreign(self.db)
        self.script = self.dir / "queuectl"
        self.script.write_text(_SCRIPT)
        self.python = sys.executable
        self.counted = self.dir / "F"
        self.queue = Queue(str(self.db))

    def command(self, *words: str) -> list[str]:
        return [self.python, str(self.script), *words]

    def use_bare_python(self) -> None:
        """Call an interpreter in which nobody has installed anything that loads at every start."""
        folder = self.dir / "python"
        venv.create(folder, symlinks=True)
        self.python = str(folder / "bin" / "python3")

    def start(self, workers: int, *words: str) -> None:
        """Start workers in the background."""
        self.queue.close()  # a connection must not cross a fork
        self.ok("worker", "start", "--count", str(workers), *words)

    def pids(self) -> list[int]:
        return [pid for pid in super().pids() if pid != os.getpid()]

    def worker_pids(self) -> list[int]:
        return [int(str(worker["pid"])) for worker in self.workers()]

    def fill(self, commands: list[str]) -> None:
        """Enqueue a job for each command at once."""
        path = self.dir / "jobs"
        path.write_text("".join(f"{command}\n" for command in commands))
        self.queue.insert_file(str(path), {})

    def drain(self, jobs: int) -> float:
        """Let idle workers run so many small jobs; give the seconds from the word go."""
        self.counted.write_bytes(b"")
        self.queue.pause("default")
        self.fill([f"printf x >>{self.counted}"] * jobs)
        began = time.perf_counter()
        self.queue.resume("default")
        self.wait_counted(jobs)
        took = time.perf_counter() - began
        wait_for(lambda: not self.queue.counts()["processing"], "the last record", 60)
        return took

    def wait_counted(self, jobs: int) -> None:
        """Wait until so many bytes were written: the jobs are the witness."""
        deadline = time.monotonic() + 300
        while self.counted.stat().st_size < jobs:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.counted.stat().st_size} of {jobs} jobs in 300 s")
            time.sleep(0.003)

    def complaints(self) -> list[str]:
        """Give the lines of the workers' log that tell of a locked database."""
        try:
            lines = (self.state / "worker.log").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [line for line in lines if "locked" in line]

    def close(self) -> None:
        self.queue.close()
        super().close()

    def remove(self) -> None:
        """Leave that to `site`: see there."""


@contextlib.contextmanager
def site(parent: str | None) -> Iterator[None]:
    """Keep all labs in one new directory, which goes at the end and not before.

    ext4 without a journal does not give an inode away again for some minutes after its file was
    deleted, and looks at each of them when a file is created near by: a few thousand logs removed
    after one round make the next one a third slower.
    """
    before = tempfile.tempdir
    tempfile.tempdir = tempfile.mkdtemp(prefix="queuectl-bench-", dir=parent)
    try:
        yield
    finally:
        shutil.rmtree(tempfile.tempdir, ignore_errors=True)
        tempfile.tempdir = before


def create_us() -> float:
    """Give the microseconds that it takes to create a log here, at the median."""
    folder = os.path.join(tempfile.mkdtemp(), "q", "logs")
    os.makedirs(folder)
    took = []
    for number in range(200):
        began = time.perf_counter()
        os.close(os.open(f"{folder}/{number}", os.O_WRONLY | os.O_CREAT, 0o600))
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """Give a lab for the length of a block."""
    made = Lab()
    try:
        yield made
    finally:
        made.close()


def refuse_foreign(db: Path) -> None:
    """Exit unless a database is one that we are about to make ourselves."""
    ours = db.parent.name.startswith("queuectl-test-")
    if not ours or db.exists() or Path(tempfile.gettempdir()).resolve() not in db.resolve().parents:
        raise SystemExit(f"tests.bench: {db} is not a database of the benchmark's own: refused")


def seconds(command: list[str], **more: object) -> float:
    """Run a command to its end and give the seconds; it must succeed."""
    began = time.perf_counter()
    done = subprocess.run(  # type: ignore[call-overload]
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        close_fds=False,
        **more,
    )
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{command[:4]}: exit {done.returncode}: {done.stderr[:300]!r}")
    return took


def scrub_environment() -> None:
    """Take the caller's queue out of our environment: what we call must not find it."""
    for key in [key for key in os.environ if key.startswith("QUEUECTL_")]:
        del os.environ[key]
    os.environ["HOME"] = "/nonexistent"  # whoever looks for ~/.queuectl.db finds no place for it
    os.environ["PYTHONPATH"] = str(ROOT)


def cpu_s(pid: int) -> float:
    """Give the seconds that a process has spent on a processor."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9


def pss_bytes(pid: int) -> int:
    """Give the memory of a process, what it shares divided by those who share it."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


def parent(pid: int) -> int:
    """Give the parent of a process."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[1])
