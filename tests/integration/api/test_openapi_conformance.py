"""Generated requests: whatever is sent, the answer is one that the OpenAPI document names."""

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api import Api

# This one would ask strangers on the network.
OUTWARDS = "/feeds/discover"
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


def test_every_answer_is_one_that_the_document_names(api: Api) -> None:
    described = schemathesis.openapi.from_asgi("/openapi.json", api.client.app)
    operations = [found.ok() for found in described.exclude(path=OUTWARDS).get_all_operations()]
    assert len(operations) > 40
    for operation in operations:
        send_any(operation)


def send_any(operation: schemathesis.APIOperation) -> None:
    """Send a request that fits what the document says."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=1,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=list(CHECKS))

    send()
