"""The registry as it is read: which version of a portfolio's model decides, and which wants to.

The registry has one model a portfolio, `strata-<name>`, whose versions are bundles; the aliases
`champion` and `challenger` say which decides and which wants to. MLflow changes it (see
`pipeline.registry.changes`); a sqlite file is read without MLflow, a server by MLflow's client.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.parse import unquote

from pipeline.disk.turns import is_made
from pipeline.registry import addresses, sqlite_file
from pipeline.registry.model_version import BUNDLE, PREVIOUS, Version

Alias = Literal["champion", "challenger"]
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Registry:
    """The MLflow server or sqlite file at `uri`.

    The artifacts of a file lie under `artifacts`; `home` is the id of the home, where it matters.
    """

    uri: str
    artifacts: Path
    home: str | None = None

    @property
    def file(self) -> Path | None:
        """The sqlite file, unless the registry is elsewhere."""
        if not self.uri.startswith(SQLITE):
            return None
        path, _, _ = self.uri.removeprefix(SQLITE).partition("?")
        return Path(unquote(path)).absolute()

    @property
    def is_in_home(self) -> bool:
        """Whether file and artifacts lie side by side, so that they move together."""
        return self.file is not None and self.file.parent == self.artifacts.parent

    @property
    def is_gone(self) -> bool:
        """Whether the file is gone or empty, though it had models: their artifacts are there."""
        if self.file is None or not self.is_in_home or is_made(self.file):
            return False
        return any(self.artifacts.glob("strata-*"))

    def version(self, portfolio: str, alias: Alias) -> Version | None:
        """The version an alias points to, if any; BrokenError where the server is away."""
        if self.file is not None:
            return sqlite_file.version_by_alias(self.file, portfolio, alias)
        from pipeline.registry import server

        return server.version_by_alias(self.uri, portfolio, alias)

    def predecessor(self, portfolio: str) -> Version | None:
        """The version that the champion took over from, if any."""
        champion = self.version(portfolio, "champion")
        number = None if champion is None else champion.tags.get(PREVIOUS)
        if number is None:
            return None
        if self.file is not None:
            return sqlite_file.version_by_number(self.file, portfolio, number)
        from pipeline.registry import server

        return server.version_by_number(self.uri, portfolio, number)

    @contextmanager
    def bundle_folder(self, version: Version) -> Iterator[Path]:
        """The folder of a version's bundle, for as long as it is read."""
        if self.file is not None:
            yield self.folder_of(sqlite_file.artifact_address(self.file, version.run_id)) / BUNDLE
            return
        from pipeline.registry import server

        with TemporaryDirectory() as folder:
            yield server.download_bundle(self.uri, version.run_id, Path(folder))

    def folder_of(self, address: str) -> Path:
        """Where the artifacts at an address of the sqlite file lie today.

        They lie beside the file, also where that is of another home, unless none do.
        """
        folder = self.artifacts.parent if self.file is None else self.file.parent
        beside = addresses.folder_of(address, folder, self.artifacts.name)
        return beside if self.is_in_home or beside.exists() else folder / addresses.path_of(address)
