"""The check of the collection: findings are decided by keys."""

import numpy as np
import pandas as pd
import pytest

from forametric.data.collection import Collection
from forametric.review.project import Project
from tests.support.browser import history

pytestmark = pytest.mark.slow


@pytest.fixture
def project(project):
    """A project with a collection of its own, which holds two images twice."""
    found = Project.open(project)
    core = Collection.open(found.collection)
    table = core.specimens.iloc[np.r_[: len(core), 0, 1]].reset_index(drop=True)
    table.loc[len(core) :, "id"] += "-2"
    collection = Collection(pd.DataFrame(table), core.images, core.info).save(project / "core")
    return Project.create(
        project / "review", collection, found.model, reference_images=found.reference_images
    ).folder


def test_copies_are_found_and_one_is_left_out_by_a_key(project, server, visit):
    expert = visit(server)
    page = expert.page
    expert.go_to("Check")
    page.get_by_role("button", name="Check the collection").click()
    page.get_by_role("heading", name="The same file again").wait_for()
    with page.expect_response("**/api/decisions"):
        page.keyboard.press("2")
    page.keyboard.press("1")  # an image that is kept is not a decision
    assert history(project)["verdict"].tolist() == ["duplicate"]
    with page.expect_response("**/api/decisions/undo"):
        page.keyboard.press("z")
    assert history(project)["verdict"].tolist() == ["duplicate", "undo"]
