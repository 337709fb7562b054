"""What can be set of a feed from a terminal, when it is added and later."""

from enum import StrEnum
from typing import Annotated

import typer


class Weight(StrEnum):
    """Which item queue a feed's imports use."""

    LIGHT = "light"
    HEAVY = "heavy"


Interval = Annotated[
    int | None, typer.Option("--interval-s", min=1, help="seconds between fetches")
]
Cron = Annotated[str | None, typer.Option(help="crontab line in UTC: '0 6 * * 1-5'")]
NoSchedule = Annotated[bool, typer.Option("--no-schedule", help="fetch it only when told to")]
WithWeight = Annotated[Weight | None, typer.Option(help="item queue of its imports")]
