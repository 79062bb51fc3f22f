"""`python3 -m queuectl`: the same as the `queuectl` command."""

from queuectl.cli import entry

if __name__ == "__main__":
    entry()
