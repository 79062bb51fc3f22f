"""Why jobs died, by cause: the same kind of command, the same status, the same last words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from zlib import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from queuectl.job import Job

# What differs from one job to the next of its kind: quoted text, hashes and ids, numbers.
_VARYING = re.compile(r"\"[^\"]*\"|'[^']*'|\b[0-9a-fA-F]*\d[0-9a-fA-F]*(?:-[0-9a-fA-F]+)*\b|\d+")


@dataclass(frozen=True)
class Cause:
    """Dead jobs that fell in the same way. `group` names them; command and last line are one's."""

    group: str
    command: str
    exit_code: int | None
    last_line: str
    ids: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Give the group object of the contract."""
        return {
            "group": self.group,
            "count": len(self.ids),
            "exit_code": self.exit_code,
            "last_line": self.last_line,
            "ids": list(self.ids),
            "command": self.command,
        }


def shape(text: str) -> str:
    """Give what a text has in common with its like."""
    return " ".join(_VARYING.sub("#", text).split())


def group(dead: Iterable[tuple[Job, str]]) -> list[Cause]:
    """Put dead jobs, each with its last line of output, into groups; the largest first."""
    found: dict[str, list[tuple[Job, str]]] = {}
    for job, last_line in dead:
        ended = f"{job.exit_code} {job.signal} {shape(job.error or '')}"
        key = "\0".join((shape(job.command), ended, shape(last_line)))
        found.setdefault(f"{crc32(key.encode('utf-8', 'replace')):08x}", []).append(
            (job, last_line)
        )
    causes = [
        Cause(
            name,
            members[0][0].command,
            members[0][0].exit_code,
            members[0][1] or members[0][0].error or "",
            tuple(job.id for job, _ in members),
        )
        for name, members in found.items()
    ]
    return sorted(causes, key=lambda cause: -len(cause.ids))
