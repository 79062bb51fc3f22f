"""queuectl: a background job queue for shell commands in one SQLite file.

Python users start here:

    from queuectl import Queue
    queue = Queue("/srv/q/build.db")
    job_id = queue.enqueue("make test", max_retries=1)
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["Job", "Queue", "State", "__version__"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queuectl.api import Queue
    from queuectl.job import Job
    from queuectl.lifecycle import State

_HOMES = {"Queue": "queuectl.api", "Job": "queuectl.job", "State": "queuectl.lifecycle"}


def __getattr__(name: str) -> object:
    """Import the public names when they are asked for: `enqueue` must not pay for them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'queuectl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
