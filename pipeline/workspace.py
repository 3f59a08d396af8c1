"""What a command works with: the settings, a portfolio, its lake, the casework and the registry.

Each is opened when it is first asked for, and what opens it is imported then: a command loads what
it uses and no more.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.registry.versions import Registry
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.casework import Engine
    from pipeline.lake.tables import Lake
    from pipeline.portfolio import Portfolio
    from pipeline.registry.champion import Champion

ARTIFACTS = "mlflow-artifacts"  # in the home


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """What a command works with; `file` is the portfolio's, where the command has one."""

    settings: Settings
    file: Path | None = None

    @cached_property
    def portfolio(self) -> "Portfolio":
        """The portfolio. Raises PortfolioError where its file cannot be understood."""
        from pipeline.portfolio import read_portfolio

        if self.file is None:
            raise ValueError("no portfolio is named; give the path of its portfolio.toml")
        return read_portfolio(self.file)

    @cached_property
    def lake(self) -> "Lake":
        """The portfolio's tables."""
        from pipeline.lake.tables import Lake

        return Lake(self.settings.lake_url, self.portfolio.name)

    @cached_property
    def casework(self) -> "Engine":
        """The casework database, made or migrated as needed."""
        from pipeline.casework import open_casework

        return open_casework(self.settings.database_url)

    @cached_property
    def registry(self) -> Registry:
        """The registry of models; opening it reads nothing."""
        return Registry(self.settings.mlflow_tracking_uri, self.settings.home / ARTIFACTS)

    @cached_property
    def champion(self) -> "Champion":
        """The model that decides. Raises RegistryError when there is none."""
        from pipeline.registry.champion import load_champion

        return load_champion(self.registry, self.portfolio.name)

    @property
    def portfolios(self) -> list[str]:
        """Names of the portfolios in a lake on this machine."""
        folder = Path(self.settings.lake_url)
        paths = folder.iterdir() if folder.is_dir() else ()
        return sorted(path.name for path in paths if path.is_dir())

    @property
    def lakes(self) -> "list[Lake]":
        """The tables of the portfolio that is named, or of each in a lake on this machine."""
        from pipeline.lake.tables import Lake

        names = [self.portfolio.name] if self.file else self.portfolios
        return [Lake(self.settings.lake_url, name) for name in names]

    @property
    def has_casework(self) -> bool:
        """Whether there is a casework database; one on a server is thought to be there."""
        url = self.settings.database_url
        return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()
