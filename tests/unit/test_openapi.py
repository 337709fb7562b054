"""The OpenAPI document: valid, complete, and true in its examples."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from server.api.examples import ANSWERS, BODIES
from server.dashboard.mounting import create_site
from shared.queue import connect
from shared.store import Stores, open_database
from tests.api import make_process
from tests.fakes import FakeClock

OPEN = ("/healthz", "/readyz")
WITH_BODY = ("PATCH", "POST", "PUT")


@pytest.fixture(scope="module", params=[None, "k" * 32], ids=["open", "locked"])
def document(request: pytest.FixtureRequest) -> Iterator[Any]:
    # Nothing is asked of a store to describe the API.
    redis = connect("redis://127.0.0.1:1/0")
    stores = Stores.of(open_database("mongodb://127.0.0.1:1/x?connect=false"))
    with closing(make_process(redis, stores, FakeClock(), api_key=request.param)) as process:
        yield create_site(process.services).openapi()
    stores.database.close()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_document_is_valid(document: Any) -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_operation_is_named_summarised_and_tagged(document: Any) -> None:
    found = list(operations(document))
    assert len(found) > 30
    names = [operation["operationId"] for *_, operation in found]
    assert len(set(names)) == len(names)
    known = [tag["name"] for tag in document["tags"]]
    assert known[0] == "Imports"
    assert known[-1] == "System"
    assert all("description" in tag for tag in document["tags"])
    for method, path, operation in found:
        summary = operation["summary"]
        assert summary[0].isupper(), (method, path)
        assert len(summary) <= 100, (method, path, summary)
        assert not summary.endswith("."), (method, path)
        assert summary != operation["operationId"].replace("_", " ").title(), (method, path)
        assert [tag for tag in operation["tags"] if tag in known], (method, path)


def test_every_parameter_says_what_it_is(document: Any) -> None:
    for method, path, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), (method, path, parameter["name"])


def test_problems_are_named_where_they_can_come(document: Any) -> None:
    is_locked = "security" in document
    for method, path, operation in operations(document):
        named = {int(status) for status in operation["responses"]}
        expected = set() if path in OPEN else {400}
        expected |= {401} if is_locked and path not in OPEN else set()
        expected |= {403} if method != "GET" else set()
        expected |= {413} if method in WITH_BODY else set()
        expected |= {415} if method in WITH_BODY and path != "/feeds/opml" else set()
        expected |= {422} if operation.get("parameters") or "requestBody" in operation else set()
        expected |= {503} if path != "/healthz" else set()
        assert expected <= named, (method, path, expected - named)
        assert (401 in named) == (401 in expected), (method, path)
        assert (operation.get("security") == []) == (path in OPEN), (method, path)
    assert "405" in document["components"]["responses"]
    assert "405" in document["info"]["description"]
    assert not [name for name in document["components"]["schemas"] if "ValidationError" in name]
    limited = document["paths"]["/imports/start"]["post"]["responses"]
    assert limited["429"] == {"$ref": "#/components/responses/429"}


def test_streams_and_texts_have_their_media_types(document: Any) -> None:
    for path, media_type in (
        ("/metrics", "text/plain"),
        ("/imports/{import_id}/events", "text/event-stream"),
        ("/feeds.opml", "text/x-opml"),
    ):
        assert list(document["paths"][path]["get"]["responses"]["200"]["content"]) == [media_type]


def test_examples_are_of_operations_that_exist_and_fit_their_schemas(document: Any) -> None:
    known = {(method, path): operation for method, path, operation in operations(document)}
    assert set(BODIES) | set(ANSWERS) <= set(known)
    for key, operation in known.items():
        content = operation.get("requestBody", {}).get("content", {})
        for body in content.values():
            examples: Mapping[str, Any] = body.get("examples", {})
            for name, example in examples.items():
                assert misfits(document, body["schema"], example["value"]) == [], (key, name)
    for (method, path), example in ANSWERS.items():
        [content] = known[method, path]["responses"]["200"]["content"].values()
        assert misfits(document, content["schema"], example) == [], path
    for status, response in document["components"]["responses"].items():
        [content] = response["content"].values()
        assert misfits(document, content["schema"], content["example"]) == [], status


def misfits(document: Any, schema: Any, value: Any) -> list[str]:
    validator = Draft202012Validator({**schema, "components": document["components"]})
    return [error.message for error in validator.iter_errors(value)]
