"""Kills at full length; ``make chaos`` runs them and shows the figures."""

import pytest

from tests.kills import SETTINGS, Kills
from tests.processes import Deploy
from tests.publisher import Publisher


@pytest.mark.chaos
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_ten_thousand_items_survive_thirty_kills(
    deploy: Deploy, publisher: Publisher, seed: int
) -> None:
    kills = Kills(items=10_000, worker_kills=20, server_kills=10, seed=seed)
    print(kills.run(deploy(**SETTINGS), publisher))
