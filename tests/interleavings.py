"""Random interleavings: `python3 -m tests.interleavings [--count N] [--seed S]`.

Several connections to one file do retry, cancel, hold, release, prune, claim and completion in a
random order, with stale views of the jobs, and a model says which of them may have happened. Each
verb must either have happened or have said that it did not.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile

from queuectl import spec
from queuectl.errors import Conflict, NotFound
from queuectl.job import Job
from queuectl.lifecycle import Kind, Outcome, decide
from queuectl.place import Place
from queuectl.storage import Storage
from tests.store import enlist

WAITING = ("pending", "failed")
ENDED = ("completed", "dead", "cancelled")


class World:
    """The file, three connections to it, and what the model believes."""

    def __init__(self, rng: random.Random, folder: str) -> None:
        place = Place(f"{folder}/q.db")
        self.rng = rng
        self.stores = [Storage(place) for _ in range(3)]
        self.worker = enlist(self.stores[0])
        self.now = 1_800_000_000_000
        self.jobs: dict[str, tuple[str, bool]] = {}  # id -> state, held
        self.claims: list[Job] = []  # every claim ever made, stale ones too

    def step(self) -> str:
        """Do one thing and compare; give its name."""
        self.now += self.rng.randrange(1000)
        verb = self.rng.choice(
            [self.add, self.claim, self.finish, self.cancel, self.hold, self.release, self.retry,
             self.delete]
        )  # fmt: skip
        verb(self.rng.choice(self.stores))
        return verb.__name__

    def add(self, store: Storage) -> None:
        options = spec.check({"command": "true", "max_retries": 1, "backoff_base": 0}, str)
        row = spec.complete(options, {}, self.now)
        self.jobs[store.insert([row], self.now)[0][0]] = ("pending", False)

    def claim(self, store: Storage) -> None:
        free = [job for job, (state, held) in self.jobs.items() if state in WAITING and not held]
        job = store.claim(self.worker, self.now)
        assert (job is not None) == bool(free), f"claim gave {job}, free are {free}"
        if job:
            assert job.id in free
            self.jobs[job.id] = ("processing", False)
            self.claims.append(job)

    def finish(self, store: Storage) -> None:
        if not self.claims:
            return
        job = self.rng.choice(self.claims)
        kind = self.rng.choice([Kind.SUCCEEDED, Kind.FAILED, Kind.INTERRUPTED, Kind.LOST])
        outcome = Outcome(kind, duration_s=0.0)
        verdict = decide(job, outcome, self.now)
        newest = max(each.run for each in self.claims if each.id == job.id)
        mine = self.jobs.get(job.id, ("", False))[0] == "processing" and job.run == newest
        happened, _, _ = store.finish(job, outcome, verdict, self.now, None)
        assert happened == mine, f"finish of run {job.run} of {job.id} said {happened}"
        if happened:
            self.jobs[job.id] = (str(verdict.state), False)

    def cancel(self, store: Storage) -> None:
        self._do(WAITING, "cancelled", lambda job: store.cancel(job, self.now), also="processing")

    def hold(self, store: Storage) -> None:
        job = self._pick()
        if self._done(WAITING, job, lambda: store.hold(job, self.now)):
            self.jobs[job] = (self.jobs[job][0], True)

    def release(self, store: Storage) -> None:
        job = self._pick()
        if self._done(WAITING, job, lambda: store.release(job, self.now, at_once=True)):
            self.jobs[job] = (self.jobs[job][0], False)

    def retry(self, store: Storage) -> None:
        self._do(("dead",), "pending", lambda job: store.retry([job], None, self.now))

    def delete(self, store: Storage) -> None:
        job = self._pick()
        if self._done(ENDED, job, lambda: store.delete(job, ENDED)):
            del self.jobs[job]

    def _do(self, states: tuple[str, ...], then: str, do, also: str = "") -> None:  # type: ignore[no-untyped-def]
        job = self._pick()
        running = also and self.jobs.get(job, ("", False))[0] == also
        if self._done((*states, also), job, lambda: do(job)) and not running:
            self.jobs[job] = (then, False)

    def _done(self, states: tuple[str, ...], job: str, do) -> bool:  # type: ignore[no-untyped-def]
        """Do it; it must happen exactly if the job is there and in one of these states."""
        state = self.jobs.get(job, ("gone", False))[0]
        try:
            do()
        except NotFound:
            assert state == "gone", f"{job} was not found and is {state}"
            return False
        except Conflict:
            assert state not in states, f"a conflict, and {job} is {state}"
            return False
        assert state in states, f"it happened, and {job} is {state}"
        return True

    def _pick(self) -> str:
        return self.rng.choice([*self.jobs, "999999999"])

    def compare(self) -> None:
        """Compare every job with the model."""
        found = {job.id: (job.state, bool(job.held)) for job in self.stores[0].select({}, None)}
        assert found == self.jobs, f"{found} is not {self.jobs}"


def main() -> int:
    """Run so many steps, in worlds of a hundred each."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    done: dict[str, int] = {}
    for _ in range(max(1, options.count // 100)):
        folder = tempfile.mkdtemp(prefix="queuectl-test-")
        try:
            world = World(rng, folder)
            for _ in range(100):
                verb = world.step()
                done[verb] = done.get(verb, 0) + 1
            world.compare()
            for store in world.stores:
                store.close()
        finally:
            shutil.rmtree(folder)
    print(f"seed {options.seed}: {sum(done.values())} steps agree with the model: {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
