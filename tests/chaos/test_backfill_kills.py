"""A back-fill of a hundred thousand items with kills; ``make chaos`` shows the figures."""

import pytest

from tests.backfill_kills import SETTINGS, BackFillKills
from tests.processes import Deploy
from tests.publisher import Publisher


@pytest.mark.chaos
@pytest.mark.timeout(1500)
def test_a_backfill_of_a_hundred_thousand_items_survives_ten_kills(
    deploy: Deploy, publisher: Publisher
) -> None:
    kills = BackFillKills(hours=1000, items=100, server_kills=5, worker_kills=5, ends_within_s=900)
    print(kills.run(deploy(**SETTINGS), publisher))
