"""Where things are: paths and addresses from the environment that is passed in.

Reading them imports nothing heavy; what builds features is imported where features are built.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from features.build import BuildConfig
    from features.engines.protocol import EngineName


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Addresses of the lake, the databases and the servers; one machine and no keys by default."""

    home: Path
    lake_url: str
    database_url: str
    mlflow_tracking_uri: str
    named_ip_databases: tuple[Path, ...] = ()
    engine: "EngineName" = "kernel"

    @property
    def ip_databases(self) -> tuple[Path, ...]:
        """The .mmdb files that are named, in order; the packaged one where none is."""
        from features.ip.addresses import packaged_database

        return self.named_ip_databases or (packaged_database(),)

    @property
    def spill(self) -> Path:
        """The folder for what does not fit into memory."""
        return self.home / "spill"

    @property
    def state_folder(self) -> Path:
        """The folder for what scoring keeps of earlier rows."""
        return self.home / "state"

    @property
    def build_config(self) -> "BuildConfig":
        """How features are built."""
        from features.build import BuildConfig

        return BuildConfig(
            ip_databases=self.ip_databases,
            engine=self.engine,
            spill_folder=self.spill,
            state_folder=self.state_folder,
        )

    def require_in_home(self) -> None:
        """Raise ValueError where a store is to lie elsewhere than in the home."""
        own = Settings.read({"STRATA_HOME": str(self.home)})
        for variable, address, in_home in (
            ("STRATA_LAKE_URL", self.lake_url, own.lake_url),
            ("STRATA_DATABASE_URL", self.database_url, own.database_url),
            ("MLFLOW_TRACKING_URI", self.mlflow_tracking_uri, own.mlflow_tracking_uri),
        ):
            if address != in_home:
                raise ValueError(
                    f"{variable} is {address!r}, and a backup is restored to a home; unset it, "
                    "and move what was restored afterwards"
                )

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; what is not set lies under STRATA_HOME, by default `.strata` here.

        STRATA_IP_DATABASE names one .mmdb file or several, with a ":" between them (";" on
        Windows); a fact of an address comes from the first that has it. STRATA_ENGINE is what
        builds features, "kernel" or "spark". Raises ValueError where one of these cannot
        serve.

        >>> Settings.read({"STRATA_HOME": "/var/strata"}).database_url
        'sqlite:////var/strata/casework.db'
        """
        home = Path(environment.get("STRATA_HOME") or ".strata").absolute()
        return cls(
            home=home,
            lake_url=_lake_url(environment.get("STRATA_LAKE_URL") or str(home / "lake")),
            database_url=environment.get("STRATA_DATABASE_URL")
            or f"sqlite:///{home / 'casework.db'}",
            mlflow_tracking_uri=environment.get("MLFLOW_TRACKING_URI")
            or f"sqlite:///{home / 'mlflow.db'}",
            named_ip_databases=_ip_databases(environment.get("STRATA_IP_DATABASE") or ""),
            engine=_engine(environment.get("STRATA_ENGINE") or "kernel"),
        )


def _lake_url(named: str) -> str:
    """A folder's path, or an object store's address."""
    address = urlsplit(named)
    if address.scheme != "file":
        return named
    if address.netloc not in {"", "localhost"} or not address.path.startswith("/"):
        raise ValueError(
            f"STRATA_LAKE_URL is {named!r}, no folder of this machine; write it like "
            "file:///srv/lake or /srv/lake, or unset it"
        )
    return unquote(address.path)


def _engine(named: str) -> "EngineName":
    if named == "kernel":
        return "kernel"
    if named == "spark":
        return "spark"
    raise ValueError(f"STRATA_ENGINE is {named!r}; set it to kernel or spark, or unset it")


def _ip_databases(named: str) -> tuple[Path, ...]:
    """The .mmdb files that are named, as a search path is written."""
    databases = tuple(Path(file) for file in named.split(os.pathsep) if file)
    if databases:
        _check(databases)
    return databases


def _check(databases: tuple[Path, ...]) -> None:
    from features.ip.addresses import IpDatabaseError, check_databases

    try:
        check_databases(databases)
    except IpDatabaseError as error:
        raise ValueError(f"{error}, or unset STRATA_IP_DATABASE") from error
