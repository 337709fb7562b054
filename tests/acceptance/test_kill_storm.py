"""Servers and workers are killed while they import; tests/chaos does it at full length."""

from tests.processes import Deploy
from tests.publisher import Publisher
from tests.storm import SETTINGS, Storm


def test_import_survives_a_short_kill_storm(deploy: Deploy, publisher: Publisher) -> None:
    storm = Storm(items=2000, worker_kills=4, server_kills=2, seed=1)
    print(storm.rage(deploy(**SETTINGS), publisher))
