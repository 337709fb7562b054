"""Queues by name, and what their class gives them."""

import pytest

from shared.queue import JobClass, QueueSpec, Registry


@pytest.mark.parametrize(
    ("job_class", "concurrency", "run_limit_s"),
    [(JobClass.LIGHT, 50, 30), (JobClass.MEDIUM, 10, 300), (JobClass.HEAVY, 3, 3600)],
)
def test_a_class_gives_a_queue_its_defaults(
    job_class: JobClass, concurrency: int, run_limit_s: float
) -> None:
    spec = QueueSpec("q", job_class)
    assert (spec.default_concurrency, spec.run_limit_s) == (concurrency, run_limit_s)


def test_a_registered_queue_is_found_by_name_and_by_class() -> None:
    registry = Registry()
    light = registry.register(QueueSpec("light", JobClass.LIGHT))
    heavy = registry.register(QueueSpec("heavy", JobClass.HEAVY))
    assert registry["light"] is light
    assert list(registry) == [light, heavy]
    assert registry.of_class(JobClass.HEAVY) == [heavy]


def test_a_name_is_registered_once() -> None:
    registry = Registry()
    registry.register(QueueSpec("q", JobClass.LIGHT))
    with pytest.raises(ValueError, match="'q'"):
        registry.register(QueueSpec("q", JobClass.HEAVY))
