"""Modules loaded when they are first used: an enqueue pays for no import it does not need."""

from __future__ import annotations

from importlib import import_module


class Later:
    """Stands for a module until one of its names is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        """Load the module and take over its names, so that this is called once."""
        self.__dict__.update(vars(import_module(self._name)))
        try:
            return self.__dict__[attribute]
        except KeyError:
            raise AttributeError(f"{self._name} has no {attribute}") from None
