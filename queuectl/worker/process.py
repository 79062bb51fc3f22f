"""One command: start it, watch it, end its whole tree, say what came of it.

A job runs in a session of its own with its output straight in the log's descriptor: a pipe would
lose it when the worker dies, and hang on a child in the background. When its first process ends
the job is over, and whatever that left behind is ended.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from dataclasses import dataclass

from queuectl.lifecycle import Kind, Outcome
from queuectl.worker import tree
from queuectl.worker.signals import END, KILL, Ear

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LEFTOVER_GRACE_S = 0.2
# How long processes may take to vanish after KILL before they are shown as stuck.
VANISH_S = 2.0
RETRY_START_S = 1.0
# How often the size of a running job's log is looked at.
LOOK_S = 0.25
# The machine's fault, not the job's: the start is given back.
_REFUSED = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True)
class Command:
    """What to run and where; `environment` is complete, `timeout_s` counts from the start."""

    argv: Sequence[bytes]
    cwd: bytes
    environment: Mapping[bytes, bytes]
    umask: int
    stdin_fd: int
    log_fd: int
    timeout_s: float | None
    grace_s: float
    poll_s: float


class Abandoned(Exception):
    """The run is no longer ours: somebody gave it up while it could not be ended."""


def run(
    command: Command,
    ear: Ear,
    note: Callable[[str], None],
    orders: Callable[[], Kind | None],
    stuck: Callable[[str], None],
    look: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run a command to its end, whatever the end is.

    `note` is told the session; `orders` is asked now and then why to stop early; `stuck` is told
    what cannot be ended; `look` is called now and then while it runs. Raises Abandoned (from
    `orders`).
    """
    began = time.monotonic()
    try:
        leader = _start(command)
    except OSError as error:
        return _not_started(error, command)
    note(f"{leader} {tree.ticks()}")
    watch = _Watch(leader, command, ear, orders, stuck, look, began)
    reason = watch.until_ended()
    left = watch.clear_leftovers()
    return _outcome(watch, reason, left, time.monotonic() - began, command)


def _start(command: Command) -> int:
    """Start the command and give the pid of its first process.

    close_fds=False keeps subprocess on vfork and off a scan of descriptors: all of ours are
    close-on-exec, but for the lock that the job is to inherit. The null device is ours, not
    subprocess.DEVNULL: opening it for each job took 100 to 170 µs.
    """
    old_umask = os.umask(command.umask)
    try:
        os.chdir(command.cwd)
        process = _spawn(command)
    finally:
        os.umask(old_umask)
        os.chdir("/")  # an idle worker keeps no directory busy
    process.returncode = 0  # it is reaped here, not there
    return process.pid


def _spawn(command: Command) -> subprocess.Popen[bytes]:
    # Directory and umask are inherited: passing them to Popen costs 70 µs more.
    return subprocess.Popen(
        command.argv,
        stdin=command.stdin_fd,
        stdout=command.log_fd,
        stderr=command.log_fd,
        env=command.environment,
        close_fds=False,
        start_new_session=True,
    )


class _Watch:
    """A running command: its tree is everything below this worker."""

    def __init__(
        self,
        leader: int,
        command: Command,
        ear: Ear,
        orders: Callable[[], Kind | None],
        stuck: Callable[[str], None],
        look: Callable[[], None],
        began: float,
    ) -> None:
        self.leader = leader
        self.status: int | None = None
        self.usage: tuple[float, int] | None = None
        self._command, self._ear, self._orders, self._stuck = command, ear, orders, stuck
        self._look, self._look_at = look, began + LOOK_S
        self._timeout_at = began + command.timeout_s if command.timeout_s else None
        self._ask_at = began + command.poll_s

    def until_ended(self) -> Kind | None:
        """Wait for the first process; give the reason if it was ended by us."""
        reason: Kind | None = None
        while reason is None:
            rang = self._wait(self._next_look())
            if self.status is not None:
                return None
            reason = self._why_stop(rang)
        self._end(reason)
        return reason

    def clear_leftovers(self) -> int:
        """End what the first process left behind; give how many there were."""
        if not self.reap():
            return 0
        if not tree.LINUX:
            tree.group_elsewhere(self.leader, LEFTOVER_GRACE_S)
            return 0
        left = len(self._living())
        self._insist(tree.end(self._living, LEFTOVER_GRACE_S, VANISH_S))
        # The table is not read at one instant; whether anybody is left, only wait4 knows.
        while self.reap():
            self._insist(tree.end(self._living, 0, VANISH_S))
        return max(left, 1)

    def reap(self) -> bool:
        """Collect whatever has ended; say whether something still lives."""
        try:
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == self.leader:
                    self.status = status
                    self.usage = (usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
                elif pid == 0:
                    return True
        except ChildProcessError:
            return False

    def _why_stop(self, rang: bool) -> Kind | None:
        now = time.monotonic()
        if self._timeout_at is not None and now >= self._timeout_at:
            return Kind.TIMED_OUT
        if rang or now >= self._ask_at:
            self._ask_at = now + self._command.poll_s
            if reason := self._orders():
                return reason
        return Kind.INTERRUPTED if self._ear.level >= END else None

    def _wait(self, until: float) -> bool:
        """Wait for a signal, a ring, an end or an instant; say whether it rang."""
        rang = self._ear.wait(min(until, self._look_at) - time.monotonic())
        self.reap()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_S
            self._look()
        return rang

    def _next_look(self) -> float:
        return self._ask_at if self._timeout_at is None else min(self._ask_at, self._timeout_at)

    def _end(self, reason: Kind) -> None:
        """TERM, the grace, KILL, on the whole tree; a third signal cuts the grace short."""
        for process in self._living():
            tree.signal_process(process, signal.SIGTERM)
            tree.signal_process(process, signal.SIGCONT)
        if not tree.LINUX:
            os.killpg(self.leader, signal.SIGTERM)
        kill_at = time.monotonic() + self._command.grace_s
        while self.status is None and self._ear.level < KILL and time.monotonic() < kill_at:
            self._wait(kill_at)
        if not tree.LINUX and self.status is None:
            os.killpg(self.leader, signal.SIGKILL)
        if self.status is None:
            self._insist(tree.end(self._living, 0, VANISH_S))
        while self.status is None:
            self._ear.wait(0.1)
            self.reap()

    def _insist(self, survivors: list[tree.Process]) -> None:
        """Wait for processes that KILL does not end; nobody may run the job meanwhile."""
        while survivors:
            self._stuck(tree.cannot_be_ended(survivors))
            self._ear.wait(self._command.poll_s)
            self._orders()
            survivors = tree.end(self._living, 0, VANISH_S)
            self.reap()

    def _living(self) -> list[tree.Process]:
        self.reap()
        return tree.below(os.getpid())


def _outcome(
    watch: _Watch, reason: Kind | None, left: int, duration_s: float, command: Command
) -> Outcome:
    code = os.waitstatus_to_exitcode(watch.status or 0)
    cpu_s, rss = watch.usage or (None, None)
    error = None
    if reason is Kind.TIMED_OUT:
        error = f"timed out after {command.timeout_s:g} s"
    return Outcome(
        kind=reason or (Kind.SUCCEEDED if code == 0 else Kind.FAILED),
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        error=error,
        duration_s=duration_s,
        cpu_s=cpu_s,
        max_rss_bytes=rss * 1024 if rss is not None and tree.LINUX else rss,
        left_behind=left or None,
    )


def not_logged(error: OSError) -> Outcome:
    """Say what came of a job whose log could not be opened."""
    if error.errno in _REFUSED:
        return _refused(error)
    return Outcome(Kind.FAILED, error=f"no log: {error}", duration_s=0.0)


def _refused(error: OSError) -> Outcome:
    text = f"the machine refused to start it: {error.strerror}"
    return Outcome(Kind.INTERRUPTED, error=text, duration_s=0.0, pause_s=RETRY_START_S)


def _not_started(error: OSError, command: Command) -> Outcome:
    """Say why a command did not start, with the status that a shell would give."""
    if error.errno in _REFUSED:
        return _refused(error)
    name = os.fsdecode(command.argv[0])
    if error.filename == command.cwd:
        text = f"cannot enter the directory {os.fsdecode(command.cwd)}: {error.strerror}"
        return Outcome(Kind.FAILED, error=text, duration_s=0.0)
    code = 127 if error.errno == errno.ENOENT else 126
    text = f"cannot start {name[:200]}: {error.strerror}"
    return Outcome(Kind.FAILED, exit_code=code, error=text, duration_s=0.0)
