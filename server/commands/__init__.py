"""What the ``feedmill`` command does, one module a command or a group.

``server/cli.py`` names them. A group's module holds its own ``typer.Typer``, and reads the settings
as the command line does."""
