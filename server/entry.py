"""Where ``feedmill`` begins. It takes a second to load; Ctrl-C then must print no traceback."""

import sys

from shared.stopping import Stopped, stopping_on_signals

INTERRUPTED = 130


def main() -> None:
    """Run the command line. A signal ends every command in the same way, also while it loads.

    The exit code is then 128 and the signal's number, unless the command returns another.
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
