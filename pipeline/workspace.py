"""What a command works with: the settings, a portfolio, its lake, the casework and the registry.

Each is opened when it is first asked for, and what opens it is imported then: a command loads what
it uses and no more.
"""

import sys
from dataclasses import dataclass, replace
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
    from pipeline.stores.agreement import Agreement

ARTIFACTS = "mlflow-artifacts"  # in the home


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """What a command works with; `file` is the portfolio's, where the command has one.

    A store that does not fit the others stops the command, unless `adopt` takes it as it is.
    """

    settings: Settings
    file: Path | None = None
    adopt: bool = False

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

        self.agreement.check_lake()
        return Lake(self.settings.lake_url, self.portfolio.name)

    @cached_property
    def agreement(self) -> "Agreement":
        """Whether the stores belong together."""
        from pipeline.stores.agreement import Agreement

        names = self.portfolios if self.file is None else [self.portfolio.name]
        return Agreement(
            lake_url=self.settings.lake_url,
            database_url=self.settings.database_url,
            portfolios=names,
            adopt=self.adopt,
            tell=_tell,
        )

    @cached_property
    def casework(self) -> "Engine":
        """The casework database, made or migrated as needed."""
        return self.agreement.open()

    @cached_property
    def registry(self) -> Registry:
        """The registry of models, whose file is there if it ever was; nothing else is read."""
        registry = Registry(self.settings.mlflow_tracking_uri, self.settings.home / ARTIFACTS)
        if registry.is_gone:
            from pipeline.stores.models import take_empty

            take_empty(registry, adopt=self.adopt, tell=_tell)
        return registry

    @property
    def own_registry(self) -> Registry:
        """The registry, which knows the home's id: what it registers is this home's."""
        return replace(self.registry, home=self.agreement.settle_lake().home)

    @cached_property
    def champion(self) -> "Champion":
        """The model that decides. Raises RegistryError when there is none."""
        from pipeline.registry.champion import load_champion
        from pipeline.stores.models import check_owner

        name = self.portfolio.name
        self.agreement.check_lake()
        check_owner(self.own_registry, name, adopt=self.adopt, tell=_tell)
        return load_champion(self.registry, name)

    @property
    def portfolios(self) -> list[str]:
        """Names of the portfolios in a lake on this machine."""
        folder = Path(self.settings.lake_url)
        paths = folder.iterdir() if folder.is_dir() else ()
        return sorted(path.name for path in paths if path.is_dir() and path.name[0] not in "._")

    @property
    def lakes(self) -> "list[Lake]":
        """The tables of the portfolio that is named, or of each in a lake on this machine."""
        from pipeline.lake.tables import Lake

        names = [self.portfolio.name] if self.file else self.portfolios
        return [Lake(self.settings.lake_url, name) for name in names]

    @property
    def has_casework(self) -> bool:
        """Whether there is a casework database, or should be one; on a server it is thought so."""
        return self.agreement.is_expected


def _tell(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
