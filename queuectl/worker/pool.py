"""A pool: one supervisor that forks workers, replaces those that die, and stops them.

It supervises by reconciling: each turn it compares what is wanted with what lives. It never waits
for "any child", because orphans of lost workers become its children; it waits for those it forked.
"""

from __future__ import annotations

import errno
import gc
import itertools
import multiprocessing
import os
import select
import signal
import sys
import time
from dataclasses import dataclass

from queuectl.errors import Gone, QueueError
from queuectl.spec import now_ms
from queuectl.storage import Storage
from queuectl.wake import Bell
from queuectl.worker import alive, journal, loop, tree, upkeep
from queuectl.worker.journal import tell
from queuectl.worker.shift import Permits, Shift
from queuectl.worker.signals import DRAIN, END, KILL, Ear

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

    from queuectl.place import Place

BOOT_S = 10.0  # a worker that is not up by then has failed to start
SETTLED_S = 10.0  # a worker that lived so long was healthy: its death starts a new count
TICK_S = 1.0
QUIET_S = 5.0  # what only the clock changes (an expiry, keep-completed) is seen within this time
_FORWARD = {DRAIN: signal.SIGHUP, END: signal.SIGUSR1, KILL: signal.SIGUSR2}
_fork = multiprocessing.get_context("fork")


def launch(place: Place, shift: Shift) -> None:
    """Start a pool in the background and return when its workers are up.

    Raises QueueError where they do not come up. The caller must have no open Storage.
    """
    report, report_in = os.pipe()
    middle = os.fork()
    if middle == 0:
        _become_daemon(place, shift, report_in)
    os.close(report_in)
    os.waitpid(middle, 0)
    with os.fdopen(report, "rb") as answer:
        text = answer.read().decode("utf-8", "replace").strip()
    if text != "up":
        raise QueueError(f"the workers did not come up: {text or 'the supervisor died'}")


def _become_daemon(place: Place, shift: Shift, report: int) -> None:
    """Detach from the terminal: a session of our own, led by nobody, with no descriptors left."""
    status = 1
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        os.umask(0o077)
        _redirect(place)
        _close_all_but(report)

        def up(text: str) -> None:
            os.write(report, text.encode("utf-8", "replace"))
            os.close(report)

        status = supervise(place, shift, up)
    except BrokenPipeError:
        pass  # whoever asked for this pool has gone; its workers see us go
    except Exception as error:
        tell(place, f"supervisor: {_why(error)}")
    finally:
        os._exit(status)


def _redirect(place: Place) -> None:
    """Read from nowhere and write into worker.log; one that cannot be opened stops nobody."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        log = journal.open_log(place)
    except OSError:
        log = null
    for fd, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, fd)


def supervise(place: Place, shift: Shift, up: Callable[[str], None]) -> int:
    """Run a pool in this process until it is stopped; give the exit status.

    `up` is told "up", or why not, once that is known.
    """
    journal.to_stderr = not shift.background
    tree.become_subreaper()
    try:
        pool = Pool(place, shift)
    except (QueueError, OSError) as error:
        up(_why(error))
        return 1
    return pool.supervise(up)


@dataclass
class _Child:
    process: BaseProcess
    born: float
    up: bool = False
    why: str = ""  # what it said it died of
    told: int = 0  # the highest stop level that was passed on


class Pool:
    """What a supervisor holds: its lock, its ear and bell, its children."""

    def __init__(self, place: Place, shift: Shift) -> None:
        self._place = place
        self._shift = shift
        self._wanted = shift.count
        self._until = time.monotonic() + shift.for_s if shift.for_s is not None else None
        self._permits = Permits(shift.max_jobs) if shift.max_jobs is not None else None
        self._spare = frozenset(process.pid for process in tree.below(os.getpid()))
        self._ear = Ear()
        self._seat = alive.Seat(place, "pool")
        self._bell = Bell(place, self._seat.token, "-")
        self._ear.attach(self._bell)
        self._lifeline, self._lifeline_in = os.pipe()
        self._ready, self._ready_in = os.pipe()
        os.set_blocking(self._ready, False)
        self._ear.watch(self._ready)
        self._words = b""
        self._storage: Storage | None = None
        self._children: dict[int, _Child] = {}
        self._deaths = 0
        self._born_after = 0.0
        self._casualties = True  # look once at the start, too
        self._reported = False
        self._failed = ""
        self._seen = -1
        self._look_at = 0.0
        self._others = False
        self._next_tick: int | None = None  # ms: when a schedule fires next
        self._told: set[str] = set()
        self._heard = False
        asked = {"background": int(shift.background), "queues": shift.queues}
        self._me = self._open().enlist_pool(self._seat.record(now_ms()) | asked)

    def supervise(self, up: Callable[[str], None]) -> int:
        """Reconcile until nobody is wanted and nobody is left."""
        while True:
            try:
                self._look_after()
            except Gone as error:
                self._stop_on(error)
            except (QueueError, OSError) as error:
                tell(self._place, str(error))
            self._spawn_missing()
            if not self._reported and (self._failed or self._all_up()):
                self._reported = True
                up(self._failed or "up")
                if self._failed:
                    self._ear.raise_to(END)
            if not self._children and (self._stopping() or self._wanted == 0):
                break
            self._ear.wait(self._pause_s())
        return self._leave()

    def _look_after(self) -> None:
        self._hear_who_is_up()
        self._reap()
        storage = self._open()
        storage.check_same_file()
        if self._until is not None and time.monotonic() >= self._until:
            self._ear.raise_to(DRAIN)
        if self._may_have_changed(storage):
            self._see_to_the_queue(storage)
        if self._ear.signalled and not self._heard:
            self._heard = True
            self._say_what_is_left(storage)
        self._pass_on()

    def _say_what_is_left(self, storage: Storage) -> None:
        """Say at the first Ctrl-C what is waited for, and how not to."""
        mine = {worker.id for worker in storage.workers(self._me.id)}
        count = sum(job.worker in mine for job in storage.processing())
        if count and self._ear.level == DRAIN:
            jobs = "1 job runs" if count == 1 else f"{count} jobs run"
            journal.say(f"draining: {jobs} to the end; once more to end them now")

    def _may_have_changed(self, storage: Storage) -> bool:
        """Say whether a look can find anything new; while all is quiet, every few seconds."""
        seen, self._seen = self._seen, storage.changes()
        now = time.monotonic()
        ticks = self._next_tick is not None and self._next_tick <= now_ms()
        if self._casualties or self._others or ticks or self._seen != seen or now >= self._look_at:
            self._look_at = now + QUIET_S
            return True
        return False

    def _see_to_the_queue(self, storage: Storage) -> None:
        storage.keep_ballast()
        if self._casualties:
            self._casualties = not self._recover_own(storage)
        upkeep.recover_orphans(storage, self._place)
        upkeep.tidy(storage, self._place)
        self._next_tick = None
        if not self._stopping():
            self._next_tick = upkeep.fire_due(storage, self._place, self._told)
        if self._permits:
            self._permits.fill()
        pools = storage.pools()
        self._others = len(pools) > 1  # whose death changes nothing in the file
        for pool in pools:
            if pool.id == self._me.id:
                self._ear.raise_to(min(pool.stop, DRAIN))  # the workers read the rest themselves

    def _recover_own(self, storage: Storage) -> bool:
        """See to the workers that this pool has lost; say whether nothing is left to see to."""
        complete = True
        for worker in storage.workers(self._me.id):
            if worker.pid not in self._children:
                complete &= upkeep.recover(storage, self._place, worker, self._adopted)
        tree.end(self._adopted, 0, upkeep.VANISH_S)
        self._bury_adopted()
        return complete

    def _adopted(self) -> list[tree.Process]:
        """List the orphans that came to us: whatever below us is not a worker, nor below one."""
        return tree.below(os.getpid(), self._spare | frozenset(self._children))

    def _bury_adopted(self) -> None:
        for process in tree.table() if tree.LINUX else ():
            ours = process.parent == os.getpid() and process.pid not in self._children
            if ours and process.state == "Z" and process.pid not in self._spare:
                os.waitpid(process.pid, os.WNOHANG)

    def _reap(self) -> None:
        for pid, child in list(self._children.items()):
            status = child.process.exitcode
            if status is None:
                if not child.up and time.monotonic() - child.born > BOOT_S:
                    tell(self._place, f"worker {pid} did not come up in {BOOT_S:.0f} s: killed")
                    child.process.kill()
                continue
            self._hear_who_is_up()  # its last words
            del self._children[pid]
            self._casualties = True
            if status == 0:
                self._wanted -= 1  # it was told to go
            else:
                self._mourn(pid, child, status)

    def _mourn(self, pid: int, child: _Child, status: int) -> None:
        """Note a death, and put off the replacement the longer the more have died in a row."""
        lived_s = time.monotonic() - child.born
        self._deaths = 1 if lived_s > SETTLED_S else self._deaths + 1
        how = f"signal {-status}" if status < 0 else f"status {status}"
        pause_s = min(0.05 * 2.0 ** (self._deaths - 1), 2.0 if child.up else 30.0)
        self._born_after = time.monotonic() + pause_s
        tell(self._place, f"worker {pid} died ({how}) after {lived_s:.1f} s")
        if not child.up and not self._reported:
            self._failed = child.why or f"a worker died at its start ({how})"

    def _spawn_missing(self) -> None:
        while len(self._children) < self._wanted and not self._stopping():
            if time.monotonic() < self._born_after:
                return
            try:
                self._spawn()
            except OSError as error:
                tell(self._place, f"cannot fork: {error.strerror}")
                self._born_after = time.monotonic() + 1.0
                return

    def _spawn(self) -> None:
        self._close()  # never fork with an open connection
        gc.freeze()  # what is loaded is shared with the child for good
        process = _fork.Process(target=self._be_worker)
        process.start()
        assert process.pid is not None
        self._children[process.pid] = _Child(process, time.monotonic())

    def _be_worker(self) -> None:
        """Become a worker: let go of all that is the supervisor's first, locks above all."""
        ready, lifeline = self._ready_in, self._lifeline
        signal.set_wakeup_fd(-1)
        permits = (self._permits.read_fd, self._permits.write_fd) if self._permits else ()
        _close_all_but(ready, lifeline, *permits)
        os.setpgid(0, 0)  # the terminal's Ctrl-C is for the supervisor, who passes it on
        status = 1
        try:
            post = loop.Post(self._place, self._me.id, self._shift, self._permits)
            status = loop.work(post, lifeline, lambda: _say(ready))
        except Exception as error:
            # On a full disk the log takes nothing; the supervisor passes on why we never came up.
            tell(self._place, f"worker: {_why(error)}")
            _say(ready, _why(error))
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _hear_who_is_up(self) -> None:
        """Read which workers are up, and what others die of."""
        try:
            while True:
                self._words += os.read(self._ready, 4096)
        except BlockingIOError:
            pass
        *lines, self._words = self._words.split(b"\n")
        for line in lines:
            pid, _, why = line.decode("utf-8", "replace").partition(" ")
            if child := self._children.get(int(pid)):
                child.up |= not why
                child.why = why

    def _all_up(self) -> bool:
        return len(self._children) >= self._wanted and all(
            child.up for child in self._children.values()
        )

    def _pass_on(self) -> None:
        """Tell the workers what the signals told us."""
        level = min(self._ear.level, KILL)
        for pid, child in self._children.items():
            if level > child.told:
                child.told = level
                os.kill(pid, _FORWARD[level])

    def _stopping(self) -> bool:
        return self._ear.level >= DRAIN

    def _stop_on(self, error: Gone) -> None:
        if not self._stopping():
            tell(self._place, f"{error}; stopping")
        self._ear.raise_to(DRAIN)
        self._pass_on()

    def _pause_s(self) -> float:
        if not all(child.up for child in self._children.values()):
            return 0.1
        due_s = self._born_after - time.monotonic()
        missing = len(self._children) < self._wanted and not self._stopping()
        pause_s = min(TICK_S, max(due_s, 0.01)) if missing else TICK_S
        if self._until is not None and not self._stopping():
            pause_s = min(pause_s, max(self._until - time.monotonic(), 0.01))
        if self._next_tick is not None and not self._stopping():
            pause_s = min(pause_s, max((self._next_tick - now_ms()) / 1000, 0.01))
        return pause_s

    def _open(self) -> Storage:
        if self._storage is None:
            self._storage = Storage(self._place)
        return self._storage

    def _close(self) -> None:
        if self._storage is not None:
            self._storage.close()
            self._storage = None
            self._seen = -1  # the next connection counts changes anew

    def _leave(self) -> int:
        """Take the pool off the register and give the exit status."""
        status = 1 if self._failed else 0
        try:
            storage = self._open()
            self._recover_own(storage)
            if self._shift.burst and storage.ended_badly(self._me.started_at, self._shift.queues):
                status = status or 4
            storage.discharge_pool(self._me.id)
            self._close()
        except (QueueError, OSError) as error:
            tell(self._place, str(error))
        self._bell.close()
        self._seat.leave()
        return status


def _close_all_but(*kept: int) -> None:
    edges = [2, *sorted(kept), 1 << 20]
    for low, high in itertools.pairwise(edges):
        os.closerange(low + 1, high)


def _say(fd: int, why: str = "") -> bool:
    """Tell the supervisor that we are up, or why not; say whether there is one to hear it."""
    words = " ".join(f"{os.getpid()} {why}".split())
    try:
        os.write(fd, words.encode("utf-8", "replace")[: select.PIPE_BUF - 1] + b"\n")
    except BrokenPipeError:
        return False
    return True


def _why(error: Exception) -> str:
    """Say in one line what went wrong; OSError's own words begin with a number."""
    if isinstance(error, QueueError):
        return str(error)
    if not isinstance(error, OSError):
        return f"internal error: {error!r}"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "the disk is full" if full else error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {what}" if error.filename else what
