"""Find the processes of a job, and end them; the only place that signals what it did not fork.

A process that left its group, its session and its parents is still found: the worker and its
supervisor are subreapers (what is orphaned below them becomes their child), and after both are
gone an inherited lock, the session and a mark in the environment remain. Linux; elsewhere the
group is all there is.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LINUX = sys.platform == "linux"
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_EXITING, _KERNEL_THREAD = 0x4, 0x200000  # PF_EXITING, PF_KTHREAD of linux/sched.h
LISTINGS = 50  # on a busy machine somebody is always new
MOMENT_S = 0.01

_boot = ""


@dataclass(frozen=True)
class Process:
    """A line of the process table. `start`: ticks since boot, so that a pid is no alias."""

    pid: int
    parent: int
    group: int
    session: int
    start: int
    state: str
    flags: int = 0


# Stands for processes that are there by all signs and end sooner than they can be looked at.
ELUSIVE = Process(0, 0, 0, 0, 0, "?")


def become_subreaper() -> None:
    """Make orphans below us our children, not init's. Not inherited by fork: call it anew."""
    if LINUX:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def birth(pid: int) -> str:
    """Give a mark that no other process ever has: boot id and start ticks; "" for none or dead."""
    global _boot
    if not LINUX:
        return _birth_elsewhere(pid)
    process = look(pid)
    if process is None or process.state in "ZX":
        return ""
    if not _boot:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            _boot = file.read().strip()
    return f"{_boot}:{process.start}"


def look(pid: int) -> Process | None:
    """Read one line of the process table."""
    try:
        fields = _stat(pid)
    except OSError:
        return None
    parent, group, session, start, flags = (int(fields[n]) for n in (1, 2, 3, 19, 6))
    return Process(pid, parent, group, session, start, fields[0].decode(), flags)


def table() -> list[Process]:
    """Read the process table."""
    return [process for pid in _pids() if (process := look(pid))]


def below(root: int, spare: frozenset[int] = frozenset()) -> list[Process]:
    """List the living descendants of a process, without those in `spare` and what is below them."""
    families: dict[int, list[Process]] = {}
    for process in table():
        families.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    pending = [root]
    while pending:
        for child in families.get(pending.pop(), []):
            if child.pid not in spare:
                found.append(child)
                pending.append(child.pid)
    living = [process for process in found if process.state not in "ZX"]
    # A table is not read at one instant; that nobody is there, the kernel's list must say.
    return living or [child for child in children(root) if child.pid not in spare]


def end(
    find: Callable[[], list[Process]], grace_s: float, limit_s: float, looks: int = 1
) -> list[Process]:
    """End whatever `find` gives: TERM, the grace, then KILL until so many looks find nothing.

    Gives what is still alive `limit_s` seconds after the first KILL: it cannot be ended.
    """
    find = _sure(find, looks)
    found = find()
    if grace_s > 0 and found:
        _signal_all(found, signal.SIGTERM)
        _signal_all(found, signal.SIGCONT)  # a stopped process does not hear TERM
        found = _wait_gone(find, time.monotonic() + grace_s)
    deadline = time.monotonic() + limit_s
    while found and time.monotonic() < deadline:
        _signal_all(found, signal.SIGKILL)
        _kill_groups(found)
        found = _wait_gone(find, min(deadline, time.monotonic() + 0.05))
    return found


def cannot_be_ended(left: list[Process]) -> str:
    """Say of processes that outlive KILL what is shown on their job."""
    if ELUSIVE in left:
        return "a process that forks sooner than it can be killed cannot be ended"
    return f"process {' '.join(str(process.pid) for process in left)} cannot be ended"


def signal_process(process: Process, number: int) -> None:
    """Signal exactly this process, never another that got its number."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        now = look(process.pid)
        if now and now.start == process.start:
            signal.pidfd_send_signal(handle, number)
    except OSError:
        pass
    finally:
        os.close(handle)


def remains(
    lock: tuple[int, int], session: str, marks: Iterable[bytes], held: Callable[[], bool]
) -> list[Process]:
    """List what is left of a run whose worker and supervisor are gone.

    `lock`: device and inode of the lock its processes inherited; `held` says whether anybody holds
    it. `session`: "leader ticks …", as noted when it was started. `marks`: the K=V entries that
    only this run's environment has. Gives ELUSIVE where somebody is left who was not met.
    """
    wanted = set(marks)
    leader, started = (int(word) for word in ([*session.split(), "0", "0"])[:2])

    def is_left(process: Process) -> bool:
        return (
            (process.session == leader != 0 and not _is_other(leader, started))
            or wanted <= _environment(process.pid)
            or _has_open(process.pid, *lock)
        )

    found: list[Process] = []
    seen = {os.getpid()}
    # A process may fork and end between our listing it and our looking at it: then its child is
    # new in the next listing. So only a listing of which we met all proves that nobody is left.
    for _ in range(LISTINGS):
        fresh = [pid for pid in _pids() if pid not in seen]
        seen.update(fresh)
        met = [process for pid in fresh if (process := look(pid))]
        found = [process for process in met if process.state not in "ZX" and is_left(process)]
        missed = len(met) < len(fresh) or not all(map(_is_there, met))
        if found or not missed:
            break
    return found or ([ELUSIVE] if missed or held() else [])


def children(pid: int) -> list[Process]:
    """List the living children of a process as the kernel keeps them, at one instant."""
    found: list[Process] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += [child for word in file.read().split() if (child := look(int(word)))]
    except OSError:
        pass  # a kernel without that list: the process table has to do
    return [child for child in found if child.state not in "ZX"]


def ticks() -> int:
    """Give the clock that the process table dates starts by."""
    boot = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return int(time.clock_gettime(boot) * os.sysconf("SC_CLK_TCK"))


def group_elsewhere(leader: int, grace_s: float) -> None:
    """End what is left of a group where there is no /proc: TERM, the grace, KILL."""
    try:
        os.killpg(leader, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            os.killpg(leader, 0)
            time.sleep(0.01)
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _signal_all(found: list[Process], number: int) -> None:
    for process in found:
        signal_process(process, number)


def _kill_groups(found: list[Process]) -> None:
    """Kill whole groups at once: no fork can outrun that.

    A job has sessions of its own, so a group outside our session holds only what is to be ended;
    and its number is not given away while it has a member.
    """
    ours = os.getsid(0)
    for group in {process.group for process in found if process.session != ours} - {0, 1}:
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            pass


def _sure(find: Callable[[], list[Process]], looks: int) -> Callable[[], list[Process]]:
    """Believe that nothing is left only after so many looks: one that is in the middle of exec
    shows no environment."""

    def look_again() -> list[Process]:
        for number in range(looks):
            if number:
                time.sleep(MOMENT_S)
            if found := find():
                return found
        return []

    return look_again


def _wait_gone(find: Callable[[], list[Process]], deadline: float) -> list[Process]:
    pause_s = 0.001
    while (found := find()) and time.monotonic() < deadline:
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.02)
    return found


def _stat(pid: int) -> list[bytes]:
    """Read a process's line from its third field on: what comes before may hold anything."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if LINUX else []


def _is_there(process: Process) -> bool:
    """Say whether a process still lives, so that what was read of it was whole.

    One that exits has no environment and no descriptors any more while it still counts as running.
    """
    now = look(process.pid)
    return (
        now is not None
        and now.start == process.start
        and now.state not in "ZX"
        and not now.flags & _EXITING
    )


def _is_other(leader: int, started: int) -> bool:
    """Say whether a leader's number has been given away since: then its start tells."""
    now = look(leader)
    return now is not None and abs(now.start - started) > 2


def _has_open(pid: int, dev: int, ino: int) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            try:
                found = os.stat(f"{folder}/{name}")
            except OSError:
                continue
            if (found.st_dev, found.st_ino) == (dev, ino):
                return True
    except OSError:
        pass
    return False


def _environment(pid: int) -> set[bytes]:
    found = b""
    try:
        for _ in range(LISTINGS):  # in the middle of an exec there is none for a moment
            with open(f"/proc/{pid}/environ", "rb") as file:
                found = file.read()
            if found or _has_none(pid):
                break
    except OSError:
        pass
    return set(found.split(b"\0"))


def _has_none(pid: int) -> bool:
    """Say whether a process has no environment at all, and not just at this moment."""
    fields = _stat(pid)
    start, end = int(fields[47]), int(fields[48])
    return bool(int(fields[6]) & (_EXITING | _KERNEL_THREAD)) or start == end != 0


def _birth_elsewhere(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return f"pid:{pid}"
