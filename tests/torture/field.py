"""Where the torture happens: its directory, its small disk, and the processes that belong to it.

We are a subreaper, so whatever this run starts stays below us in the process table: only what is
found there is ever signalled, and nothing of it can be lost sight of.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from queuectl import cli
from tests.support import ROOT
from tests.torture import jobs

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE, MNT_DETACH = 0x4000, 0x40000, 2
DISK = "size=192m,mode=700"
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Process:
    """A living process of this run, and what it is to queuectl."""

    pid: int
    parent: int
    group: int
    session: int
    start: int
    state: str
    role: str  # client, supervisor, worker, leader, descendant


class Field:
    """The directory, the disk, the clients that are under way."""

    def __init__(self, folder: Path | None = None) -> None:
        """Prepare a directory with a small disk in it, or this directory without one."""
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.dir = folder or Path(tempfile.mkdtemp(prefix="queuectl-torture-"))
        self.disk = folder or self.dir / "disk"
        self.disk.mkdir(mode=0o700, exist_ok=True)
        self.small = folder is None and _mount(self.disk)
        self.db = self.disk / "q.db"
        self.state = self.disk / "q"
        self.clients: dict[int, str] = {}  # pid -> verb
        self.exits: dict[str, int] = {}  # "verb status" -> count
        self._keep_zombies_until = 0.0
        environment = {
            **jobs.prepare(self.dir),
            "HOME": str(self.dir),
            "QUEUECTL_DB": str(self.db),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(self.dir)
        for name in cli.COMMANDS:  # loaded here, so that a client costs a fork
            with contextlib.suppress(ModuleNotFoundError):
                import_module(f"queuectl.commands.{name}")
        for name in ("queuectl.api", "queuectl.worker.pool", "queuectl.worker.roster"):
            import_module(name)

    def call(self, verb: str, *words: str, out: str = "/dev/null") -> int:
        """Start a client, a process that is `queuectl words…`, and give its pid.

        It is a fork of ours that calls the command's entry point: as black as a box can be that
        shall cost 5 ms and not 60.
        """
        pid = os.fork()
        if pid == 0:
            self._be_client(words, out)
        self.clients[pid] = verb
        return pid

    def _be_client(self, words: tuple[str, ...], out: str) -> None:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for fd, name in ((0, "/dev/null"), (1, out), (2, str(self.dir / "stderr"))):
                flags = os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_APPEND | os.O_CREAT
                source = os.open(name, flags, 0o600)
                os.dup2(source, fd)
                os.close(source)
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
            sys.stderr = open(2, "w", encoding="utf-8", closefd=False)
            sys.argv = ["queuectl", *words]
            cli.entry()
        finally:
            os._exit(70)

    def run(self, *words: str, timeout_s: float = 120) -> tuple[int, str]:
        """Call queuectl as a program of its own; give its exit status and stdout."""
        out = self.dir / f"out-{time.monotonic_ns()}"
        command = [sys.executable, "-m", "queuectl", *words]
        pid = _spawn(command, out, self.dir / "stderr")
        self.clients[pid] = " ".join(words[:2])
        deadline = time.monotonic() + timeout_s
        while self.clients.get(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return 124, ""
            time.sleep(0.01)
            self.reap()
        text = out.read_text(errors="backslashreplace")
        out.unlink()
        return self.last_status, text

    def start(self, verb: str, *words: str) -> int:
        """Start queuectl as a program of its own and do not wait for it."""
        pid = _spawn([sys.executable, "-m", "queuectl", *words], "/dev/null", self.dir / "stderr")
        self.clients[pid] = verb
        return pid

    last_status = 0

    def reap(self) -> list[tuple[str, int, int]]:
        """Collect the clients that have ended: verb, pid, status."""
        ended = []
        for pid, verb in list(self.clients.items()):
            found, raw = os.waitpid(pid, os.WNOHANG)
            if found:
                del self.clients[pid]
                self.last_status = status = os.waitstatus_to_exitcode(raw)
                key = f"{verb} {status}"
                self.exits[key] = self.exits.get(key, 0) + 1
                ended.append((verb, pid, status))
        return ended

    def leave_zombies(self, seconds: float) -> None:
        """Bury nobody for a while, as an init that does not reap: a zombie is dead all the same."""
        self._keep_zombies_until = time.monotonic() + seconds

    def bury(self) -> None:
        """Collect what has ended and came to us because its parents had ended before."""
        if time.monotonic() < self._keep_zombies_until:
            return
        for pid, parent, state in _table():
            if parent == os.getpid() and state == "Z" and pid not in self.clients:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def processes(self) -> list[Process]:
        """List what lives below us."""
        rows = {row.pid: row for row in map(_look, _pids()) if row and row.state not in "ZX"}
        children: dict[int, list[int]] = {}
        for row in rows.values():
            children.setdefault(row.parent, []).append(row.pid)
        below, pending = [], [os.getpid()]
        while pending:
            found = children.get(pending.pop(), [])
            below += found
            pending += found
        return [self._named(rows[pid]) for pid in sorted(below)]

    def _named(self, process: Process) -> Process:
        return Process(**{**vars(process), "role": self._role(process)})

    def _role(self, process: Process) -> str:
        if process.pid in self.clients and self.clients[process.pid] != "pool_run":
            return "client"
        words = _read(process.pid, "cmdline").split(b"\0")
        if b"queuectl" in words and (b"start" in words or b"run" in words):
            # A worker leads a group of its own; its supervisor is in that of a dead ancestor, or
            # was started by us.
            direct = process.pid in self.clients
            return "worker" if process.group == process.pid and not direct else "supervisor"
        has_id = b"QUEUECTL_JOB_ID=" in _read(process.pid, "environ")
        return "leader" if has_id and process.session == process.pid else "descendant"

    def client(self, pid: int) -> Process | None:
        """Give a client that we have just started."""
        found = _look(pid)
        return Process(**{**vars(found), "role": "client"}) if found else None

    def signal(self, process: Process, number: int) -> bool:
        """Signal exactly this process; False where it is gone."""
        try:
            handle = os.pidfd_open(process.pid)
        except OSError:
            return False
        try:
            now = _look(process.pid)
            if now is None or now.start != process.start or now.state in "ZX":
                return False
            signal.pidfd_send_signal(handle, number)
            return True
        except OSError:
            return False
        finally:
            os.close(handle)

    def fill(self) -> None:
        """Fill the small disk to the last page."""
        if not self.small:
            return
        filler = os.open(self.disk / "filler", os.O_WRONLY | os.O_CREAT, 0o600)
        size, step = 0, 16 << 20
        while step >= 4096:
            try:
                os.posix_fallocate(filler, size, step)
                size += step
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                step //= 4
        os.close(filler)

    def free(self) -> None:
        """Give the space back."""
        (self.disk / "filler").unlink(missing_ok=True)

    def delete_run(self) -> None:
        """Remove run/ from under everybody."""
        shutil.rmtree(self.state / "run", ignore_errors=True)

    def end_all(self) -> None:
        """Kill whatever is left below us."""
        deadline = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < deadline:
            for process in left:
                self.signal(process, signal.SIGKILL)
            time.sleep(0.02)
            self.reap()
            self._keep_zombies_until = 0
            self.bury()

    def close(self) -> None:
        """End what is left and remove everything."""
        self.end_all()
        os.chdir("/")
        if self.small:
            _libc.umount2(os.fsencode(self.disk), MNT_DETACH)
        shutil.rmtree(self.dir, ignore_errors=True)


def _mount(folder: Path) -> bool:
    """Mount a small disk that only this process sees and that goes with it; needs root."""
    if os.geteuid() or _libc.unshare(CLONE_NEWNS):
        return False
    _libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    return _libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, DISK.encode()) == 0


def _spawn(command: list[str], out: os.PathLike[str] | str, err: os.PathLike[str]) -> int:
    more = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.fspath(out), more, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, os.fspath(err), more, 0o600),
    ]
    return os.posix_spawn(command[0], command, os.environ, file_actions=actions)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _table() -> list[tuple[int, int, str]]:
    rows = map(_look, _pids())
    return [(row.pid, row.parent, row.state) for row in rows if row]


def _look(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    parent, group, session, start = (int(fields[i]) for i in (1, 2, 3, 19))
    return Process(pid, parent, group, session, start, fields[0].decode(), "")


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""
