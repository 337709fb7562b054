"""All checks, in the order in which parts depend on one another."""

from collections.abc import Iterator

from server.doctor.content_checks import (
    QUEUES,
    check_partitions,
    check_queues,
    check_record,
    check_worker_threads,
    is_work_left,
)
from server.doctor.deployment_checks import (
    adopt_settings,
    check_disk,
    check_private_addresses,
    check_queue_settings,
    check_service,
    check_setting_names,
    check_settings,
)
from server.doctor.facts import Facts
from server.doctor.findings import Finding, fine, problem
from server.doctor.store_checks import MONGODB, check_mongodb, check_redis
from shared.settings import Settings


def diagnose(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Yield every finding, grouped, in the order in which parts depend on one another.

    Where the running service reports its settings, its queues and access are checked.
    """
    stores, own_settings = facts.stores, settings
    settings = adopt_settings(settings, facts.service)
    yield from check_settings(settings, stores.limits)
    yield from check_queue_settings(own_settings, facts.service)
    yield from check_private_addresses(settings, facts.service)
    yield from check_setting_names(facts.misspelt)
    yield from check_redis(stores.redis, settings.queue_prefix, stores.redis_refusal)
    if facts.is_for_apps_alone:
        yield fine(MONGODB, "needed", "not needed: there are only queues of your own programs")
    else:
        yield from check_mongodb(stores.mongodb, stores.write_error)
    if stores.unreadable is not None:
        text = f"queues and record could not be looked at: {stores.unreadable}"
        yield problem(QUEUES, "readable", text, "fix the stores, then run the doctor again")
    yield from check_partitions(stores.partitions, settings.queue_partitions)
    if stores.queues:
        yield from check_queues(stores.queues)
    yield from check_worker_threads(stores.workers)
    if stores.record is not None:
        is_left = is_work_left(stores.queues)
        yield from check_record(stores.record, facts.now, is_work_left=is_left)
    if facts.is_for_apps_alone:
        return
    yield from check_service(facts.service, facts.own_version)
    if facts.disk is not None:
        yield check_disk(facts.disk)
