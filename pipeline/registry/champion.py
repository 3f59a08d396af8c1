"""The model that decides: its version and its bundle."""

from dataclasses import dataclass

from pipeline.registry.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The model that decides: its version in the registry and its bundle."""

    version: str
    bundle: Bundle
