"""Where things are: paths and addresses from the environment that is passed in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from features.ip import packaged_database


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Addresses of the lake, the databases and the servers; one machine and no keys by default."""

    home: Path
    lake_url: str
    database_url: str
    mlflow_tracking_uri: str
    ip_database: Path

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; what is not set lies under STRATA_HOME (default `.strata` in the working folder).

        >>> Settings.read({"STRATA_HOME": "/var/strata"}).database_url
        'sqlite:////var/strata/casework.db'
        """
        home = Path(environment.get("STRATA_HOME") or ".strata").absolute()
        ip_database = environment.get("STRATA_IP_DATABASE")
        if ip_database and not Path(ip_database).is_file():
            raise ValueError(f"STRATA_IP_DATABASE is {ip_database}, where no file is; name an .mmdb file or unset it")
        return cls(
            home=home,
            lake_url=environment.get("STRATA_LAKE_URL") or str(home / "lake"),
            database_url=environment.get("STRATA_DATABASE_URL") or f"sqlite:///{home / 'casework.db'}",
            mlflow_tracking_uri=environment.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}",
            ip_database=Path(ip_database) if ip_database else packaged_database(),
        )
