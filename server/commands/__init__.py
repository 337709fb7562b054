"""What the ``feedmill`` command does, one module a group of commands.

``server/cli.py`` names them. A group's module has its own ``typer.Typer``, and reads the settings
as the command line does.
"""
