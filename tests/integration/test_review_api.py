"""The described interface holds what it says: schemathesis against the running application."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from forametric.review import Decisions
from forametric.review.project import Project, embed_project
from forametric.server.app import make_app
from forametric.server.session import Studio

TOKEN = "a-token-for-tests"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
# Work that takes minutes.
LEFT_OUT = {
    ("POST", "/api/models"), ("POST", "/api/models/current"), ("POST", "/api/audit"),
    ("POST", "/api/morphotypes/find"),
}  # fmt: skip

WITH_QUERY = {"/api/search", "/api/queue", "/api/pictures/{specimen}"}

pytestmark = pytest.mark.slow
load_all_checks()


@pytest.fixture(scope="module")
def application(calibrated_folder, more_shells, shells_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("api") / "project"
    project = Project.create(folder, more_shells, calibrated_folder, references=[shells_folder])
    embed_project(project)
    studio = Studio.open(project, Decisions(folder / "decisions.sqlite"))
    yield make_app(studio, TOKEN, loopback=False)
    studio.close()


def test_every_request_gets_an_answer_that_was_described(application):
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", application, headers=HEADERS)
    operations = [found.ok() for found in schema.get_all_operations()]
    tested = [o for o in operations if (o.method.upper(), o.path) not in LEFT_OUT]
    assert len(tested) > 25
    excluded = [
        # The token is looked at before anything else: tested in test_review.
        CHECKS.get_one("ignored_auth"),
        # What is well formed may still be impossible, and is refused with a sentence: an image that
        # is none, a group that is not there.
        CHECKS.get_one("positive_data_acceptance"),
    ]
    # Parameters that nobody asked for are ignored in an address, as everywhere.
    lenient = CHECKS.get_one("negative_data_rejection")
    problems = []
    for operation in tested:
        left_out = [*excluded, lenient] if operation.path in WITH_QUERY else excluded
        for mode in GenerationMode:
            try:
                _holds(operation.as_strategy(generation_mode=mode), left_out)
            except Unsatisfiable:  # there is no way to ask this wrongly
                continue
            except BaseExceptionGroup as problem:
                problems.append(f"{operation.method} {operation.path} ({mode}): {problem}")
    assert not problems, "\n\n".join(problems)


def _holds(cases, left_out) -> None:
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def holds(case):
        case.call_and_validate(headers=HEADERS, excluded_checks=left_out)

    holds()
