"""Calls of the command line inside the test's own process: a hundred of them take a second."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import unittest
from collections.abc import Mapping
from unittest import mock

from queuectl import api
from queuectl.cli import main
from queuectl.place import Place
from queuectl.storage import Storage
from tests.store import temporary


class Said:
    """What a call came to."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code = code
        self.raw = out
        self.out = out.decode("utf-8", "backslashreplace")
        self.err = err.decode("utf-8", "backslashreplace")

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def __repr__(self) -> str:
        return f"<exit {self.code}, stdout {self.out!r}, stderr {self.err!r}>"


def call(*words: str, stdin: bytes = b"", env: Mapping[str, str] = {}) -> Said:
    """Run one command line and give what it said; whatever queue it opened is closed again."""
    streams = [io.TextIOWrapper(io.BytesIO(raw), "utf-8") for raw in (stdin, b"", b"")]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    opened: list[api.Queue] = []

    class Tracked(api.Queue):
        def __init__(self, path: str | None = None, *, create: bool = True) -> None:
            super().__init__(path, create=create)
            opened.append(self)

    with (
        mock.patch.object(api, "Queue", Tracked),
        mock.patch.dict(os.environ, env),
        mock.patch.multiple(sys, stdin=streams[0], stdout=streams[1], stderr=streams[2]),
    ):
        try:
            code = main(words)
            for stream in streams[1:]:
                stream.flush()
        finally:
            for queue in opened:
                queue.close()
    return Said(code, *(stream.buffer.getvalue() for stream in streams[1:]))  # type: ignore[attr-defined]


class CallTest(unittest.TestCase):
    """A test with a queue of its own, called as `self.call("enqueue", "true")`."""

    def setUp(self) -> None:
        self.dir = temporary(self)
        self.place = Place(str(self.dir / "q.db"))
        self.enterContext(mock.patch.dict(os.environ, {"QUEUECTL_DB": self.place.db}))
        os.environ.pop("QUEUECTL_JOB_ID", None)

    def call(self, *words: str, **more: object) -> Said:
        return call(*words, **more)  # type: ignore[arg-type]

    def ok(self, *words: str, **more: object) -> Said:
        """Call it; anything but exit status 0 fails the test."""
        said = self.call(*words, **more)
        self.assertEqual(said.code, 0, said)
        return said

    def enqueue(self, *words: str, **more: object) -> str:
        return self.ok("enqueue", "-q", *words, **more).out.strip()

    def store(self) -> contextlib.closing[Storage]:
        """Open the file: `with self.store() as store`."""
        return contextlib.closing(Storage(self.place))

    def count(self) -> int:
        """Count the jobs in the file; none where there is no file."""
        if not os.path.exists(self.place.db):
            return 0
        with self.store() as store:
            return sum(store.tally().values())
