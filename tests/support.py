"""What the tests share: a queue of their own in a temporary directory, and waiting for facts.

The witness of a test is what the jobs themselves wrote (`ledger`), not what queuectl says.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINUX = sys.platform == "linux"


class Result:
    """What one call of the command line came to."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.code = done.returncode
        self.raw = done.stdout
        self.out = done.stdout.decode("utf-8", "backslashreplace")
        self.err = done.stderr.decode("utf-8", "backslashreplace")

    @property
    def json(self) -> object:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def __repr__(self) -> str:
        return f"<exit {self.code}, stdout {self.out!r}, stderr {self.err!r}>"


class Sandbox:
    """A queue in a directory of its own, driven through the command line as a person would."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="queuectl-test-"))
        self.home = self.dir / "home"
        self.home.mkdir()
        self.db = self.dir / "q.db"
        self.state = self.dir / "q"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "QUEUECTL_DB": str(self.db),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "queuectl", *words]

    def run(
        self,
        *words: str,
        stdin: bytes | None = b"",
        env: dict[str, str] | None = None,
        timeout_s: float = 60,
        **more: object,
    ) -> Result:
        """Call queuectl and give what it said; never raises for its exit status."""
        options: dict[str, object] = {"cwd": self.dir, **more}
        done = subprocess.run(  # type: ignore[call-overload]
            self.command(*words),
            input=stdin,
            env={**self.env, **(env or {})},
            capture_output=True,
            timeout=timeout_s,
            **options,
        )
        return Result(done)

    def start(self, *words: str, **more: object) -> subprocess.Popen[bytes]:
        """Start queuectl and give it with its output as pipes; the test ends it."""
        options: dict[str, object] = {
            "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL,
            "cwd": self.dir, "env": self.env, **more,
        }  # fmt: skip
        return subprocess.Popen(self.command(*words), **options)  # type: ignore[call-overload,no-any-return]

    def ok(self, *words: str, **more: object) -> Result:
        """Call queuectl; anything but exit status 0 fails the test."""
        result = self.run(*words, **more)  # type: ignore[arg-type]
        if result.code:
            raise AssertionError(f"queuectl {' '.join(words)}: {result!r}")
        return result

    def enqueue(self, *words: str, **more: object) -> str:
        """Enqueue a job and give its id."""
        return self.ok("enqueue", *words, **more).out.strip()

    def job(self, job_id: str) -> dict[str, object]:
        """Give a job as `show --json` has it."""
        return self.ok("show", job_id, "--json").json  # type: ignore[return-value]

    def state_of(self, job_id: str) -> str:
        return str(self.job(job_id)["state"])

    def wait_state(self, job_id: str, *states: str, timeout_s: float = 30) -> dict[str, object]:
        """Wait until a job is in one of these states and give it."""
        wait_for(lambda: self.state_of(job_id) in states, f"{job_id} to be {states}", timeout_s)
        return self.job(job_id)

    def workers(self) -> list[dict[str, object]]:
        return self.ok("worker", "list", "--json").json  # type: ignore[return-value]

    def log(self, job_id: str) -> bytes:
        return (self.state / "logs" / f"{job_id}.log").read_bytes()

    def ledger(self, name: str = "ledger") -> list[str]:
        """Give the lines that jobs appended to a file of that name."""
        try:
            return (self.dir / name).read_text().splitlines()
        except FileNotFoundError:
            return []

    def gate(self, name: str) -> Gate:
        """Make a FIFO that holds a job (`cat gate`) until the test opens it."""
        return Gate(self.dir / name)

    def pids(self) -> list[int]:
        """List every living process whose environment names this queue: ours and the jobs'."""
        mark = f"QUEUECTL_DB={self.db}".encode()
        found = []
        for entry in Path("/proc").iterdir() if LINUX else ():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        """Stop what runs, make sure that nothing is left, and remove the directory."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.run("worker", "stop", "--now", timeout_s=30)
        left = self.pids()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.remove()
        if left:
            raise AssertionError(f"processes were left behind: {left}")

    def remove(self) -> None:
        """Remove the directory and all that is in it."""
        shutil.rmtree(self.dir, ignore_errors=True)


class Gate:
    """Holds a job until the test says so, without anybody sleeping."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    def __str__(self) -> str:
        return str(self.path)

    def open(self) -> None:
        """Let whoever reads the FIFO go on; waits for the reader."""
        with open(self.path, "w"):
            pass


class QueueTest(unittest.TestCase):
    """A test with a sandbox: `self.box`."""

    def start(self, *words: str, **more: object) -> subprocess.Popen[bytes]:
        """Start queuectl; whatever is left of it ends with the test."""
        process = self.box.start(*words, **more)
        self.addCleanup(_end, process)
        return process

    def setUp(self) -> None:
        self.box = Sandbox()
        self.addCleanup(self.box.close)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def wait_for(fact: Callable[[], object], what: str, timeout_s: float = 30) -> object:
    """Wait until a fact holds and give it; fail, naming it, when it does not come true."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = fact()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}")
        wait_a_moment()


def wait_a_moment() -> None:
    time.sleep(0.01)  # a pause between two looks, not a wait for luck


def is_alive(pid: int) -> bool:
    """Say whether a process lives; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


@contextlib.contextmanager
def sandbox() -> Iterator[Sandbox]:
    """Give a sandbox for the length of a block."""
    box = Sandbox()
    try:
        yield box
    finally:
        box.close()
