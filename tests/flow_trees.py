"""Flows of reports and their pages, as they are added and as they are read."""

from typing import Any

from feedmill import FlowNode


def page(job_id: str, **more: Any) -> dict[str, Any]:
    return {"name": "page", "queue_name": "pages", "opts": {"job_id": job_id}, **more}


def report(*children: dict[str, Any], **more: Any) -> dict[str, Any]:
    opts = {"job_id": "r"}
    return {
        "name": "report",
        "queue_name": "reports",
        "opts": opts,
        "children": list(children),
        **more,
    }


def shape(node: FlowNode | None) -> Any:
    assert node is not None
    return [node.job.id, *map(shape, node.children)]
