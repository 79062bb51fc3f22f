"""The tests. Importing this package makes the real home unreachable: nothing may touch it."""

import os

# Any use of the default database fails loudly: there is no such directory, nor can it be made.
os.environ["HOME"] = "/dev/null/the-real-home-is-off-limits"
for name in [name for name in os.environ if name.startswith("QUEUECTL_")]:
    del os.environ[name]
