"""The HTTP interface does what its description says: schemathesis against the application."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from forametric.review import Project
from forametric.server.app import make_app
from forametric.server.session import ReviewSession
from tests.support.serving import HEADERS, access, decide, wait_for

# Work that takes minutes.
LEFT_OUT = {
    ("POST", "/api/models"), ("POST", "/api/models/current"), ("POST", "/api/check-findings"),
    ("POST", "/api/morphotypes"),
}  # fmt: skip
# Parameters that the description does not name are ignored in an address, as everywhere.
WITH_QUERY = {
    "/api/specimens", "/api/specimen", "/api/specimen/similar", "/api/queue", "/api/image",
    "/api/column", "/api/samples/precision", "/api/sheets/{number}",
}  # fmt: skip

pytestmark = pytest.mark.slow
load_all_checks()


@pytest.fixture(scope="module")
def application(calibrated_folder, more_shells, shells_folder, tmp_path_factory):
    """An application with decisions, findings, counted samples and a morphotype."""
    from starlette.testclient import TestClient

    folder = tmp_path_factory.mktemp("api") / "project"
    project = Project.create(
        folder, more_shells, calibrated_folder, reference_images=[shells_folder], depth="depth"
    )
    session = ReviewSession.open(project, project.open_store())
    application = make_app(session, access(), loopback=False)
    with TestClient(application, headers=HEADERS) as client:
        ids = [str(i) for i in session.workspace.ids[:6]]
        decide(client, ids[0], "Aa bb")
        decide(client, ids[0], verdict="unlisted", reviewer="B")
        client.post("/api/morphotypes/move", json={"reviewer": "A", "specimens": ids})
        for path, kind in (("samples", "counting"), ("check-findings", "checking")):
            client.post(f"/api/{path}")
            assert wait_for(session, kind).state == "done"
    yield application
    session.close()


def test_every_request_gets_an_answer_that_was_described(application):
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", application, headers=HEADERS)
    operations = [found.ok() for found in schema.get_all_operations()]
    tested = [o for o in operations if (o.method.upper(), o.path) not in LEFT_OUT]
    assert len(tested) > 25
    excluded = [
        # The token is checked before anything else: see tests/unit/server/test_security.py.
        CHECKS.get_one("ignored_auth"),
        # A well-formed request may still be impossible, and is refused with a sentence: bytes that
        # are not an image, a morphotype that does not exist.
        CHECKS.get_one("positive_data_acceptance"),
    ]
    lenient = CHECKS.get_one("negative_data_rejection")
    problems = []
    for operation in tested:
        left_out = [*excluded, lenient] if operation.path in WITH_QUERY else excluded
        for mode in GenerationMode:
            try:
                _conforms(operation.as_strategy(generation_mode=mode), left_out)
            except Unsatisfiable:  # no request to this route can be wrong
                continue
            except BaseExceptionGroup as problem:
                problems.append(f"{operation.method} {operation.path} ({mode}): {problem}")
    assert not problems, "\n\n".join(problems)


def _conforms(cases, left_out) -> None:
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def conforms(case):
        case.call_and_validate(headers=HEADERS, excluded_checks=left_out)

    conforms()


@pytest.mark.parametrize(
    "path",
    ["/api/project", "/api/status", "/api/agreement", "/api/morphotypes", "/api/check-findings",
     "/api/samples", "/api/samples/precision?sample=core 8", "/api/models", "/api/queue?reviewer=C",
     "/api/specimens?text=core", "/api/specimen?specimen=ID", "/api/specimen/similar?specimen=ID"],
)  # fmt: skip
def test_answers_with_content_have_the_described_fields(application, path):
    from starlette.testclient import TestClient

    schema = schemathesis.openapi.from_asgi("/api/openapi.json", application, headers=HEADERS)
    specimen = str(application.state.session.workspace.ids[0])
    with TestClient(application, headers=HEADERS) as client:
        response = client.get(path.replace("ID", specimen))
    assert response.status_code == 200
    schema[path.split("?")[0]]["GET"].validate_response(response)
