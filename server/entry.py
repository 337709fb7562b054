"""Where ``feedmill`` begins: it takes a second to load, and Ctrl-C must not show how far it got."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line; Ctrl-C ends it with 130, also while it is still loading."""
    try:
        from server import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
