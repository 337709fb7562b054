"""Options and arguments that several commands share."""

from typing import Annotated

import typer

from server.commands.completion import complete_queues, complete_sources

AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
Limit = Annotated[int, typer.Option(min=1, help="show so many at most")]
OfSource = Annotated[
    str | None, typer.Option("--source", help="of this feed", autocompletion=complete_sources)
]
Source = Annotated[str, typer.Argument(metavar="SOURCE", autocompletion=complete_sources)]
Sources = Annotated[list[str], typer.Argument(metavar="SOURCE", autocompletion=complete_sources)]
Queue = Annotated[str, typer.Argument(metavar="QUEUE", autocompletion=complete_queues)]
AnyQueue = Annotated[str | None, typer.Argument(metavar="QUEUE", autocompletion=complete_queues)]
