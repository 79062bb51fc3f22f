"""The bugs: what is changed in which file, and who is to catch it.

A text that is no longer there once, or a catcher that is red without the bug, is a failure, too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A bug: `changes` are (file, old text, new text); `caught_by` are words of `python3 -m`."""

    name: str
    changes: tuple[tuple[str, str, str], ...]
    caught_by: tuple[str, ...]


def _torture(seconds: int, verbs: str, kinds: str, *more: str, seed: int = 1) -> str:
    words = f"tests.torture --json --seconds {seconds} --seed {seed} --patience 25"
    return " ".join([words, f"--only {verbs}", f"--kinds {kinds}", *more])


POWERCUT = "tests.powercut --json --fast"

# A lease looks at the clock alone, so it needs no death: a job that runs for long is enough.
_LEASE = """\
    now = now_ms()
    by_id = {worker.id: worker for worker in storage.workers()}
    for job in storage.processing():
        if job.worker in by_id and now - (job.started_at or now) > 2000:
            _record(storage, place, by_id[job.worker], job)
"""

MUTANTS = (
    Mutant(
        "no-run-fence",
        (
            (
                "queuectl/storage/jobs.py",
                "signal = :signal, error = :error\n"
                "WHERE seq = :seq AND run = :run AND state = 'processing'\n",
                "signal = :signal, error = :error\nWHERE seq = :seq\n",
            ),
        ),
        (_torture(12, "enqueue,give_up", "long", "--rate give_up=0.5", "--rate enqueue=2"),),
    ),
    Mutant(
        "two-second-lease",
        (
            (
                "queuectl/worker/upkeep.py",
                "    dead_pools = [pool for pool in",
                _LEASE + "    dead_pools = [pool for pool in",
            ),
        ),
        (_torture(10, "enqueue", "longer", "--rate enqueue=1", "--workers 12"),),
    ),
    Mutant(
        "answer-before-commit",
        (
            (
                "queuectl/commands/enqueue.py",
                "    ((job_id, new),) = queue.insert([asked])\n",
                '    if "id" in asked:\n'
                '        talk.answer(str(asked["id"]), flush=True)\n'
                "    ((job_id, new),) = queue.insert([asked])\n",
            ),
        ),
        (
            _torture(15, "enqueue_killed", "ok", "--rate enqueue_killed=20"),
            POWERCUT,
        ),
    ),
    Mutant(
        "no-subreaper",
        (
            (
                "queuectl/worker/tree.py",
                "prctl(PR_SET_CHILD_SUBREAPER, 1,",
                "prctl(PR_SET_CHILD_SUBREAPER, 0,",
            ),
        ),
        (_torture(6, "enqueue", "daemon,emptied,closed"),),
    ),
    Mutant(
        "exec-lock-not-inherited",
        (
            (
                "queuectl/worker/alive.py",
                "os.set_inheritable(self.exec_fd, True)",
                "os.set_inheritable(self.exec_fd, False)",
            ),
        ),
        (_torture(15, "enqueue,massacre", "emptied", "--rate massacre=0.7"),),
    ),
    Mutant(
        "recovery-does-not-kill",
        (
            (
                "queuectl/worker/upkeep.py",
                "        left = tree.end(lambda job=job: ",
                "        left = (lambda *_, **__: [])(lambda job=job: ",
            ),
        ),
        (_torture(12, "enqueue,massacre", "slow,long,daemon", "--rate massacre=0.7"),),
    ),
    Mutant(
        "connection-before-fork",
        (
            (
                "queuectl/worker/pool.py",
                "        self._close()  # never fork with an open connection\n        gc.freeze()",
                "        gc.freeze()",
            ),
        ),
        (_torture(15, "enqueue,kill_worker,pool_start", "ok,slow", "--rate kill_worker=2"),),
    ),
    Mutant(
        "alive-by-pid-alone",
        (
            (
                "queuectl/worker/alive.py",
                "    return bool(held) or birth(record.pid) == record.birth\n",
                '    del held\n    return os.path.exists(f"/proc/{record.pid}")\n',
            ),
        ),
        # An even seed: the drain begins with a massacre, and its dead lie unburied.
        (_torture(6, "enqueue", "slow,long", seed=2),),
    ),
    Mutant(
        "synchronous-off",
        (
            (
                "queuectl/storage/sqlite.py",
                'db.execute("PRAGMA synchronous = FULL")',
                'db.execute("PRAGMA synchronous = OFF")',
            ),
        ),
        (POWERCUT,),
    ),
)
