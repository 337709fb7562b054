"""The same deployments as the acceptance tests have."""

from tests.acceptance.conftest import deploy, publisher

__all__ = ["deploy", "publisher"]
