"""What errors and values say, for people. Whoever wrote their classes, asking raises nothing."""

import traceback


def reason_of(error: BaseException) -> str:
    """Return an error's text, never an empty one; where it cannot be had, what the error is."""
    return text_of(error) or shown(error)


def text_of(value: object) -> str:
    """Return ``str(value)``, or what :func:`shown` says of it where that raises."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a class may raise anything there
        return shown(value)


def shown(value: object) -> str:
    """Return ``repr(value)``; its type alone where that raises."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - as above
        return f"<{type(value).__name__} that cannot be shown>"


def stack_of(error: BaseException) -> str:
    """Return an error with its stack, and those that it came of."""
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - it is asked for its notes, and its class may raise at that
        stack = "".join(traceback.format_tb(error.__traceback__))
        return f"{stack}{type(error).__name__}: {reason_of(error)}\n"
