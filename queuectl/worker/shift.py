"""What a pool was asked to do, and how many jobs it may still start."""

from __future__ import annotations

import os
from dataclasses import dataclass

# A pipe holds 65,536 bytes; the rest of a larger allowance is put in as room comes.
FILL = 32_768


@dataclass(frozen=True)
class Shift:
    """How a pool is to work. `queues`: a comma list, None for all; `for_s` in seconds."""

    count: int
    queues: str | None = None
    background: bool = False
    burst: bool = False
    for_s: float | None = None
    max_jobs: int | None = None


class Permits:
    """The starts that a pool has left: bytes in a pipe, so that a killed worker harms nobody."""

    def __init__(self, jobs: int) -> None:
        self._left = jobs
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        os.set_blocking(self.write_fd, False)
        self.fill()

    def fill(self) -> None:
        """Put in what there is room for (the supervisor's part)."""
        try:
            while self._left:
                self._left -= os.write(self.write_fd, b"." * min(self._left, FILL))
        except BlockingIOError:
            pass

    def take(self) -> bool:
        """Take the permit to start one job; False where there is none left."""
        try:
            return bool(os.read(self.read_fd, 1))
        except BlockingIOError:
            return False

    def give_back(self) -> None:
        """Put a permit back that came to nothing."""
        os.write(self.write_fd, b".")
