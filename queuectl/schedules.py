"""What can be done with schedules; `Queue.schedules` gives it. Instants are ms since 1970 (UTC)."""

from __future__ import annotations

from queuectl import recurring, spec, wake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queuectl.job import Schedule
    from queuectl.place import Place
    from queuectl.storage import Storage


class Schedules:
    """The schedules of one queue. Every method raises the errors of `queuectl.errors`."""

    def __init__(self, place: Place, storage: Storage) -> None:
        self._place = place
        self._storage = storage
        self._stored = storage.recurring

    def add(
        self,
        name: str,
        command: str | None = None,
        *,
        replace: bool = False,
        **options: object,
    ) -> Schedule:
        """Store a schedule: `cron` or `every`, `tz`, `overlap`, `catchup`, and a job's options.

        Not those that concern a single job, such as `id` or `at`. Raises UsageError; Conflict
        where there is one of that name that is not to be replaced.
        """
        asked = options if command is None else {"command": command, **options}
        rhythm, what = recurring.split(asked, lambda key: key)
        row = recurring.complete(name, rhythm, what, self._storage.settings(), spec.now_ms())
        stored = self._stored.add(row, replace=replace)
        wake.ring_all(self._place)
        return stored

    def all(self) -> list[Schedule]:
        """List the schedules by name."""
        return self._stored.all()

    def one(self, name: str) -> Schedule:
        """Give a schedule. Raises NotFound."""
        return self._stored.one(name)

    def remove(self, name: str) -> None:
        """Delete a schedule; jobs it has put in line stay. Raises NotFound."""
        self._stored.remove(name)

    def pause(self, name: str) -> bool:
        """Fire no more; False where it is paused already. Raises NotFound."""
        return self._stored.pause(name)

    def resume(self, name: str) -> bool:
        """Fire again, from the next tick on; False where it was not paused. Raises NotFound."""
        next_at = recurring.next_after(self.one(name), spec.now_ms())
        resumed = self._stored.resume(name, next_at)
        wake.ring_all(self._place)
        return resumed

    def run(self, name: str) -> str:
        """Enqueue a job of a schedule now, whatever it says of overlap; give its id."""
        job_id, _ = self._stored.run(name, spec.now_ms())
        wake.ring_idle(self._place, self._storage.job(job_id).queue)
        return job_id
