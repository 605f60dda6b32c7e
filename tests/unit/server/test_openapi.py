"""The description of the HTTP interface: complete, and the one that the page is built with."""

from pathlib import Path

from forametric.server.app import make_interface
from forametric.server.openapi import description

COMMITTED = Path(__file__).parents[3] / "web" / "openapi.json"


def test_the_committed_description_is_the_generated_one():
    command = "python -m forametric.server.openapi > web/openapi.json"
    assert COMMITTED.read_text(encoding="utf-8") == description(), f"run: {command}"


def test_every_answer_names_its_fields():
    schema = make_interface().openapi()
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if "204" in operation["responses"]:
                continue  # nothing is answered
            content = operation["responses"]["200"]["content"]
            json = content.get("application/json", {"schema": {"$ref": "not JSON"}})["schema"]
            assert "$ref" in json.get("items", json), (method, path)
    for name, model in schema["components"]["schemas"].items():
        for field, described in model.get("properties", {}).items():
            assert described.get("additionalProperties") is not True, (name, field)
