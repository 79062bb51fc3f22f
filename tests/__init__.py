"""The tests. Importing this package makes the real home unreachable: nothing may touch it."""

import os
import signal
import sys
import unittest

# Any use of the default database fails loudly: there is no such directory, nor can it be made.
os.environ["HOME"] = "/dev/null/the-real-home-is-off-limits"
for name in [name for name in os.environ if name.startswith("QUEUECTL_")]:
    del os.environ[name]


# Behind an `&` in a script SIGINT is ignored, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_add_skip = unittest.TextTestResult.addSkip


def _add_named_skip(
    result: unittest.TextTestResult, test: unittest.case.TestCase, reason: str
) -> None:
    """Name a test that is skipped, and why: a dot among hundreds is a silent skip."""
    print(f"skipped: {test}: {reason}", file=sys.stderr)
    _add_skip(result, test, reason)


unittest.TextTestResult.addSkip = _add_named_skip  # type: ignore[method-assign]
