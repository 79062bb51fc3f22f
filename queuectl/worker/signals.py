"""What a supervisor or worker hears: signals, its bell, the end of its parent.

A handler only records; the loops act. Level 1 drains, 2 ends the jobs with TERM and grace, 3
kills them.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from queuectl.wake import Bell

DRAIN, END, KILL = 1, 2, 3


class Ear:
    """Waits for whatever comes first, and counts how urgently we were asked to stop."""

    def __init__(self, lifeline: int | None = None) -> None:
        self.level = 0
        self.signalled = False
        self.orphaned = False
        self._lifeline = lifeline
        self._bell: Bell | None = None
        self._pipe, self._pipe_in = os.pipe()
        os.set_blocking(self._pipe, False)
        os.set_blocking(self._pipe_in, False)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        if lifeline is not None:
            self._poll.register(lifeline, select.POLLIN | select.POLLHUP)
        self._listen()

    def _listen(self) -> None:
        """Take over the signals. Nothing stays ignored: jobs would inherit that."""
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if signal.getsignal(number) is signal.SIG_IGN and number not in _PYTHON_IGNORES:
                signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGUSR1, lambda *_: self.raise_to(END))
        signal.signal(signal.SIGUSR2, lambda *_: self.raise_to(KILL))
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be written into the pipe
        signal.set_wakeup_fd(self._pipe_in, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _on_stop(self, number: int, _: FrameType | None) -> None:
        # A closing terminal and our supervisor say HUP, and mean: finish and go.
        self.level = max(self.level, DRAIN) if number == signal.SIGHUP else self.level + 1
        self.signalled = True

    def raise_to(self, level: int) -> None:
        """Take an order that came another way."""
        self.level = max(self.level, level)

    def attach(self, bell: Bell) -> None:
        """Hear a bell as well."""
        self._bell = bell
        if bell.fileno() >= 0:
            self._poll.register(bell.fileno(), select.POLLIN)

    def watch(self, fd: int) -> None:
        """Wake up for this descriptor, too; whoever waits reads it."""
        self._poll.register(fd, select.POLLIN)

    def wait(self, timeout_s: float) -> bool:
        """Wait for anything, at most so long; say whether the bell rang."""
        rang = False
        for fd, _ in self._poll.poll(max(0.0, timeout_s) * 1000):
            if fd == self._pipe:
                _drain(self._pipe)
            elif fd == self._lifeline:
                self.orphaned = True
                self._poll.unregister(fd)
            elif self._bell is not None and fd == self._bell.fileno():
                self._bell.drain()
                rang = True
        return rang


# Python itself ignores these, and subprocess gives a child their defaults back.
_PYTHON_IGNORES = {signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)}


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        pass


@contextmanager
def ending_softly() -> Iterator[None]:
    """Let TERM and HUP end this process as an exception, so that what is held is given back."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def holding_stops() -> Iterator[None]:
    """Keep the terminal's stop (Ctrl-Z) back: `stop_wanted` takes it when it is convenient."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_wanted(seconds: float) -> bool:
    """Wait for a stop that is held back, so many seconds; say whether it came."""
    if sys.platform == "darwin":  # which has no sigtimedwait: Ctrl-Z does nothing there
        time.sleep(seconds)
        return False
    return signal.sigtimedwait({signal.SIGTSTP}, seconds) is not None


def stop_here() -> None:
    """Stop as everything stops on Ctrl-Z; return when somebody has said `fg`."""
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})  # here
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
