"""A back-fill's server and worker are killed; tests/chaos does it at full length."""

from tests.backfill_kills import SETTINGS, BackFillKills
from tests.processes import Deploy
from tests.publisher import Publisher


def test_a_backfill_survives_the_death_of_its_server_and_of_its_worker(
    deploy: Deploy, publisher: Publisher
) -> None:
    kills = BackFillKills(hours=32, items=50, server_kills=1, worker_kills=1, ends_within_s=90)
    print(kills.run(deploy(**SETTINGS), publisher))
