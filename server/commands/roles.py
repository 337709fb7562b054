"""``feedmill server`` and ``feedmill worker``: one role, in this very process."""

import os
import sys
from typing import Literal, NoReturn

from shared.settings import Settings


def become_role(role: Literal["server", "worker"], settings: Settings) -> NoReturn:
    """Replace this process by a role: same process id, so signals reach it.

    Raises:
        SettingsError: a store is not named.
    """
    settings.named_stores()
    # The current folder may hold a "server" of somebody else.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    os.execve(sys.executable, [sys.executable, "-m", role], environment)
