"""Where ``feedmill`` begins: it takes a second to load, and Ctrl-C must not show how far it got."""

import sys

from server.commands.stopping import Stopped, stopping_on_signals

INTERRUPTED = 130


def main() -> None:
    """Run the command line. A signal ends every command in the same way, also while it loads.

    The exit code is then 128 and the signal's number, unless the command says another.
    """
    try:
        with stopping_on_signals():
            from server import cli

            cli.main()
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        # Before the signals were ours.
        sys.exit(INTERRUPTED)
