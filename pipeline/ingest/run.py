"""What one run of ingest works with."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio
from pipeline.sources.feed_changes import mapping_digest
from pipeline.sources.files import Taken

WRITER = "ingest"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of ingest works with; `deliveries` are the files taken before it."""

    portfolio: Portfolio
    lake: Lake
    now: datetime
    spill: Path
    batch_rows: int
    deliveries: list[Taken] = field(default_factory=list)
    is_accepted: bool = False
    is_dry: bool = False

    @cached_property
    def mapping(self) -> str:
        """A digest of how the portfolio reads a file."""
        return mapping_digest(self.portfolio)
