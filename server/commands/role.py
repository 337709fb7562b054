"""``feedmill server`` and ``feedmill worker``: this process as one role."""

import os
import sys
from typing import Literal, NoReturn

from shared.settings import Settings


def become_role(role: Literal["server", "worker"], settings: Settings) -> NoReturn:
    """Replace this process by a role: same process id, so signals reach it.

    Raises:
        SettingsError: a store is not named that the role needs.
    """
    if role == "worker" and settings.works_app_alone:
        settings.named_redis()
    else:
        settings.named_stores()
    # The current folder may hold a "server" of somebody else.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    os.execve(sys.executable, [sys.executable, "-m", role], environment)
