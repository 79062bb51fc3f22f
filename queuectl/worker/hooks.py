"""on-finish and on-dead: commands that are told of a job that has ended, with its JSON on stdin.

Whoever ends a job owes its hooks in the same transaction; a worker pays them, one at a time,
between two jobs. A hook runs as contained as a job and for a minute at most. What becomes of it is
never the job's; a failure is a line in worker.log, which `queuectl doctor` finds.
"""

from __future__ import annotations

import json
import os
import tempfile

from queuectl import config
from queuectl.lifecycle import Kind, State
from queuectl.render import job_json
from queuectl.worker import process
from queuectl.worker.journal import open_log, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from queuectl.job import Job
    from queuectl.place import Place
    from queuectl.storage import Storage
    from queuectl.worker.signals import Ear

KEYS = ("on-finish", "on-dead")
LIMIT_S = 60.0


def pay(storage: Storage, place: Place, settings: Mapping[str, object], ear: Ear) -> None:
    """Run the hooks that are owed. Raises QueueError where storage cannot say which."""
    while job := storage.pay_hook():
        for key in KEYS:
            command = settings[key]
            if command and (key == "on-finish" or job.state == State.DEAD):
                _run(place, str(command), key, job, settings, ear)


def _run(
    place: Place, hook: str, key: str, job: Job, settings: Mapping[str, object], ear: Ear
) -> None:
    told = json.dumps(job_json(job, place), ensure_ascii=False) + "\n"
    log_fd = open_log(place)
    try:
        with tempfile.TemporaryFile() as stdin:
            stdin.write(told.encode("utf-8", "replace"))
            stdin.seek(0)
            command = process.Command(
                argv=[os.fsencode(str(settings["shell"])), b"-c", hook.encode()],
                cwd=os.fsencode(place.state),
                environment=config.own_environment(place.db),
                umask=0o077,
                stdin_fd=stdin.fileno(),
                log_fd=log_fd,
                timeout_s=LIMIT_S,
                grace_s=float(settings["kill-grace"]),  # type: ignore[arg-type]
                poll_s=LIMIT_S,
            )
            outcome = process.run(command, ear, lambda _: None, lambda: None, lambda _: None)
    except OSError as error:
        tell(place, f"hook failed: {key} for job {job.id}: {error}")
        return
    finally:
        os.close(log_fd)
    if outcome.kind is not Kind.SUCCEEDED:
        ended = outcome.error or f"exit {outcome.exit_code}, signal {outcome.signal}"
        tell(place, f"hook failed: {key} for job {job.id}: {ended}")
