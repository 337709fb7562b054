"""Servers and workers are killed while they import; tests/chaos does it at full length."""

from tests.kills import SETTINGS, Kills
from tests.processes import Deploy
from tests.publisher import Publisher


def test_import_survives_a_few_kills(deploy: Deploy, publisher: Publisher) -> None:
    kills = Kills(items=1000, worker_kills=3, server_kills=2, seed=1)
    print(kills.run(deploy(**SETTINGS), publisher))
