"""What the ``feedmill`` command does, one module a command; ``server/cli.py`` names them."""
