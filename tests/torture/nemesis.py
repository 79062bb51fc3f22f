"""The nemesis: one function for each verb of the plan, and the loop that carries the plan out.

What a verb does to a job is noted *before* it is asked for, because the client that asks may be
killed: a job that may have been cancelled may be cancelled at the end.
"""

from __future__ import annotations

import heapq
import itertools
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.torture import jobs
from tests.torture.field import Field, Process
from tests.torture.plan import Event

MAX_CLIENTS = 20
MAX_POOLS = 3
WORKERS = 4


@dataclass(frozen=True)
class Shot:
    """A signal that was sent. `at`: seconds of the monotonic clock; `wall`: ms since 1970."""

    at: float
    wall: int
    role: str
    pid: int
    parent: int
    number: int


@dataclass
class Notes:
    """What was done, for the verdict."""

    shots: list[Shot] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    may: dict[str, set[str]] = field(default_factory=dict)  # "cancelled" -> ids, "deleted" -> ids
    given_up: dict[int, str] = field(default_factory=dict)  # client -> id
    stay_cancelled: set[str] = field(default_factory=set)
    proved: set[str] = field(default_factory=set)  # ids whose presence a second call has proved
    disturbed: list[tuple[float, float]] = field(default_factory=list)  # ms: full disk, stops
    starts: list[int] = field(default_factory=list)  # ms: a pool was asked to start

    def maybe(self, what: str, job_id: str) -> str:
        """Note that this may now happen to a job."""
        self.may.setdefault(what, set()).add(job_id)
        return job_id


class Nemesis:
    """Carries out a plan on a field."""

    def __init__(self, ground: Field, workers: int = WORKERS) -> None:
        self.field = ground
        self.notes = Notes()
        self._workers = workers
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._recent: deque[str] = deque(maxlen=60)
        self._named: dict[int, tuple[str, list[str]]] = {}
        self._acks = open(ground.dir / "acks", encoding="ascii", errors="replace")
        self._full = False
        self.acks = str(ground.dir / "acks")

    def carry_out(self, plan: list[Event]) -> None:
        """Do everything at its time; what comes late is done at once."""
        began = time.monotonic()
        for event in plan:
            self._until(began + event.at)
            VERBS[event.verb](self, event)
            self.notes.done[event.verb] += 1

    def _until(self, deadline: float) -> None:
        while True:
            self._collect()
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                heapq.heappop(self._later)[2]()
            busy = len(self.field.clients) >= MAX_CLIENTS
            if now >= deadline and not (busy and now < deadline + 5):
                return
            wake_at = min([deadline, *(item[0] for item in self._later[:1])])
            time.sleep(min(max(wake_at - now, 0.001), 0.02))

    def _collect(self) -> None:
        for verb, pid, status in self.field.reap():
            if pid in self._named:
                job_id, words = self._named.pop(pid)
                if status in (0, 5):
                    self.notes.proved.add(job_id)
                elif job_id not in self._acknowledged():  # unknown: the same call must tell
                    self.after(0.3, lambda j=job_id, w=words: self._enqueue_as(j, w))
            if pid in self.notes.given_up:
                job_id = self.notes.given_up.pop(pid)
                if verb == "give_up" and status == 0:
                    self.notes.stay_cancelled.add(job_id)
        self.field.bury()

    def _acknowledged(self) -> set[str]:
        with open(self.acks, encoding="ascii", errors="replace") as file:
            return set(file.read().split())

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something a little later."""
        when = time.monotonic() + seconds
        heapq.heappush(self._later, (when, next(self._number), lambda: do() and None))

    def finish(self) -> None:
        """End the faults: do at once what was still to come, and make everything possible again."""
        deadline = time.monotonic() + 60
        while self.notes.given_up and time.monotonic() < deadline:
            self._until(time.monotonic() + 0.05)
        while self._later:
            heapq.heappop(self._later)[2]()
        self.free()
        for process in self.field.processes():
            self.field.signal(process, signal.SIGCONT)
        while (self.field.clients or self._later) and time.monotonic() < deadline:
            self._until(time.monotonic() + 0.05)
            if all(verb in ("pool_run", "wait") for verb in self.field.clients.values()):
                break
        for pid, verb in list(self.field.clients.items()):
            if verb != "pool_run":
                os.kill(pid, signal.SIGKILL)

    # -- aiming -----------------------------------------------------------------------------------

    def pick(self, role: str, share: float) -> Process | None:
        """Give the process of that role on which the die has fallen."""
        found = [each for each in self.field.processes() if each.role == role]
        return found[int(share * len(found))] if found else None

    def shoot(self, process: Process, number: int = signal.SIGKILL) -> bool:
        """Signal a process and note it."""
        wall = time.time_ns() // 1_000_000
        if not self.field.signal(process, number):
            return False
        shot = Shot(time.monotonic(), wall, process.role, process.pid, process.parent, number)
        self.notes.shots.append(shot)
        count = self.notes.kills if number == signal.SIGKILL else self.notes.stops
        count[process.role] += 1
        return True

    def freeze(self, process: Process | None, seconds: float) -> None:
        """Stop a process and let it go on later."""
        if process and self.shoot(process, signal.SIGSTOP):
            now = time.time_ns() // 1_000_000
            self.notes.disturbed.append((now, now + seconds * 1000))
            self.after(seconds, lambda: self.field.signal(process, signal.SIGCONT))

    def some_id(self, share: float) -> str | None:
        """Give one of the ids that were acknowledged last."""
        self._recent.extend(line.strip() for line in self._acks if line.endswith("\n"))
        return self._recent[int(share * len(self._recent))] if self._recent else None

    def some_dead(self, share: float) -> str | None:
        """Give one of the ids that a list of the dead has named lately, and ask for another."""
        path = self.field.dir / "dead"
        self.call("look", "dlq", "list", "-q", out=str(path))
        told = path.read_text().split()[-40:] if path.exists() else []
        return told[int(share * len(told))] if told else None

    # -- acting -----------------------------------------------------------------------------------

    def enqueue(self, event: Event) -> int:
        """Enqueue a job of the kind that was drawn."""
        words = jobs.command(self.field.dir / "job", event.kind, event.dice[0])
        return self.field.call("enqueue", "enqueue", "-q", *words, out=self.acks)

    def enqueue_named(self, event: Event) -> int:
        """Enqueue with an id of our own; where the answer is lost, ask again until it is told."""
        words = jobs.command(self.field.dir / "job", event.kind, event.dice[0])
        return self._enqueue_as(f"t{next(self._number)}", words)

    def _enqueue_as(self, job_id: str, words: list[str]) -> int:
        words_named = ("enqueue", "-q", "--id", job_id, *words)
        pid = self.field.call("enqueue_named", *words_named, out=self.acks)
        self._named[pid] = (job_id, words)
        return pid

    def enqueue_killed(self, event: Event) -> None:
        """Enqueue and kill the client somewhere on its way."""
        pid = self.enqueue_named(event) if event.dice[1] < 0.5 else self.enqueue(event)
        found = self.field.client(pid)
        if found:
            self.after(event.dice[2] * 0.015, lambda: self.shoot(found))

    def massacre(self, event: Event) -> None:
        """Kill every supervisor and worker at once; nobody buries them for a while."""
        self.field.leave_zombies(1 + 3 * event.dice[0])
        victims = [p for p in self.field.processes() if p.role in ("supervisor", "worker")]
        for process in sorted(victims, key=lambda each: each.role):
            self.shoot(process)
        self.after(0.05 + event.dice[1], self.start_pool)

    def start_pool(self) -> None:
        """Start a pool in the background."""
        self.notes.starts.append(time.time_ns() // 1_000_000)
        self.field.start("pool_start", "worker", "start", "--count", str(self._workers))

    def pools(self) -> int:
        """Count the supervisors."""
        return sum(each.role == "supervisor" for each in self.field.processes())

    def pool_start(self, event: Event) -> None:
        """Start another pool if there are few."""
        if self.pools() < MAX_POOLS:
            self.start_pool()

    def pool_run(self, event: Event) -> None:
        """Start a pool in the foreground that leaves by itself."""
        if self.pools() < MAX_POOLS:
            length = f"{2 + 10 * event.dice[0]:.1f}"
            self.field.start("pool_run", "worker", "run", "--count", "2", "--for", length)

    def give_up(self, event: Event) -> None:
        """Stop a worker with its job, give the job up by force, then let the worker go on."""
        worker = self.pick("worker", event.dice[0])
        job_id = self._job_of(worker) if worker else None
        if worker and job_id:
            self.notes.maybe("cancelled", job_id)
            self.notes.maybe("given up", job_id)
            self.freeze(worker, 16)
            self.notes.given_up[self.call("give_up", "cancel", "--force", job_id)] = job_id

    def _job_of(self, worker: Process) -> str | None:
        for process in self.field.processes():
            if process.parent == worker.pid and process.role == "leader":
                with open(f"/proc/{process.pid}/environ", "rb") as file:
                    for entry in file.read().split(b"\0"):
                        if entry.startswith(b"QUEUECTL_JOB_ID="):
                            return entry.partition(b"=")[2].decode()
        return None

    def fill_disk(self, event: Event) -> None:
        """Fill the disk of the database for a while."""
        if not self.field.small or self._full:
            return
        seconds = 0.3 + 2 * event.dice[0]
        self._full = True
        now = time.time_ns() // 1_000_000
        self.notes.disturbed.append((now, now + seconds * 1000))
        self.field.fill()
        self.after(seconds, self.free)

    def free(self) -> None:
        """Give the disk's space back."""
        self.field.free()
        self._full = False

    def call(self, verb: str, *words: str, out: str = "/dev/null") -> int:
        """Call the command line as a client that may be killed."""
        return self.field.call(verb, *words, out=out)

    def on_some(
        self,
        event: Event,
        *words: str,
        may: str = "",
        out: str = "/dev/null",
        dead: bool = False,
    ) -> None:
        """Call a verb on one of the jobs enqueued last, or of the dead ones.

        `may` says what that may do to it.
        """
        job_id = (self.some_dead if dead else self.some_id)(event.dice[0])
        if job_id:
            if may:
                self.notes.maybe(may, job_id)
            self.call(event.verb, *words, job_id, out=out)

    def look(self, event: Event) -> None:
        """Call something that only reads."""
        asked = LOOKS[int(event.dice[1] * len(LOOKS))]
        self.call("look", *asked)


LOOKS = (
    ("list",),
    ("list", "--all", "--json"),
    ("status",),
    ("status", "--json"),
    ("dlq", "list"),
    ("worker", "list"),
    ("queue", "list"),
    ("config", "list"),
)


def _kill(role: str) -> Callable[[Nemesis, Event], None]:
    def kill(nemesis: Nemesis, event: Event) -> None:
        process = nemesis.pick(role, event.dice[0])
        if process:
            nemesis.shoot(process)

    return kill


def _stop(role: str, longest_s: float) -> Callable[[Nemesis, Event], None]:
    def stop(nemesis: Nemesis, event: Event) -> None:
        seconds = 0.1 + longest_s * event.dice[1] ** 2
        nemesis.freeze(nemesis.pick(role, event.dice[0]), seconds)

    return stop


def _words(*words: str) -> Callable[[Nemesis, Event], None]:
    return lambda nemesis, event: nemesis.call(event.verb, *words) and None


def _on_some(
    *words: str, may: str = "", acknowledged: bool = False, dead: bool = False
) -> Callable[[Nemesis, Event], None]:
    def act(nemesis: Nemesis, event: Event) -> None:
        out = nemesis.acks if acknowledged else "/dev/null"
        nemesis.on_some(event, *words, may=may, out=out, dead=dead)

    return act


def _edit(nemesis: Nemesis, event: Event) -> None:
    nemesis.on_some(event, "edit", "--priority", str(int(event.dice[1] * 10)))


def _scale(nemesis: Nemesis, event: Event) -> None:
    nemesis.field.start(event.verb, "worker", "scale", str(int(event.dice[0] * 8)))


def _pause(nemesis: Nemesis, event: Event) -> None:
    nemesis.call(event.verb, "queue", "pause", "default")
    seconds = 0.5 + 2 * event.dice[0]
    nemesis.after(seconds, lambda: nemesis.call("queue_resume", "queue", "resume", "default"))


def _limit(nemesis: Nemesis, event: Event) -> None:
    nemesis.call(
        event.verb, "queue", "set", "default", "--concurrency", str(1 + int(3 * event.dice[1]))
    )
    seconds = 0.5 + 2 * event.dice[0]
    words = ("queue", "set", "default", "--concurrency", "none")
    nemesis.after(seconds, lambda: nemesis.call("queue_unlimit", *words))


def _schedule(verb: str) -> Callable[[Nemesis, Event], None]:
    """Add, run or remove one of a few schedules; what it fires is a job like any other."""

    def act(nemesis: Nemesis, event: Event) -> None:
        name = f"s{int(event.dice[0] * 5)}"
        words = ("schedule", verb, name)
        if verb == "add":
            script = nemesis.field.dir / "job"
            job = ("--every", "1d", "--replace", f"exec sh '{script}' ok 0.05")
            nemesis.call(event.verb, *words, *job)
        else:
            out = nemesis.acks if verb == "run" else "/dev/null"
            nemesis.call(event.verb, *words, out=out)

    return act


VERBS: dict[str, Callable[[Nemesis, Event], object]] = {
    "enqueue": Nemesis.enqueue,
    "enqueue_named": Nemesis.enqueue_named,
    "enqueue_killed": Nemesis.enqueue_killed,
    "kill_client": _kill("client"),
    "kill_leader": _kill("leader"),
    "kill_descendant": _kill("descendant"),
    "kill_worker": _kill("worker"),
    "kill_supervisor": _kill("supervisor"),
    "massacre": Nemesis.massacre,
    "stop_worker": _stop("worker", 6),
    "stop_supervisor": _stop("supervisor", 4),
    "stop_client": _stop("client", 2),
    "stop_leader": _stop("leader", 2),
    "pool_start": Nemesis.pool_start,
    "pool_run": Nemesis.pool_run,
    "pool_scale": _scale,
    "pool_stop": _words("worker", "stop", "--no-wait"),
    "pool_stop_now": _words("worker", "stop", "--now"),
    "give_up": Nemesis.give_up,
    "fill_disk": Nemesis.fill_disk,
    "delete_run": lambda nemesis, _: nemesis.field.delete_run(),
    "look": Nemesis.look,
    "cancel": _on_some("cancel", may="cancelled"),
    "retry": _on_some("dlq", "retry", dead=True),
    "purge": _on_some("dlq", "purge", "--yes", may="deleted", dead=True),
    "prune": _on_some("prune", "--yes", may="deleted"),
    "hold": _on_some("hold"),
    "release": _on_some("release", "--now"),
    "edit": _edit,
    "rerun": _on_some("rerun", acknowledged=True),
    "queue_pause": _pause,
    "queue_limit": _limit,
    "schedule_add": _schedule("add"),
    "schedule_run": _schedule("run"),
    "schedule_remove": _schedule("remove"),
}
