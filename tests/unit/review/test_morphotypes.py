"""Morphotypes that reviewers find, change and name."""

import pytest

from forametric.data.verdicts import Verdict
from forametric.errors import InputError, NotFoundError
from forametric.review.morphotypes import ReviewMorphotypes
from forametric.review.workspace import VerdictOn


def test_unlisted_specimens_are_grouped_and_the_groups_replaced(workspace):
    morphotypes = ReviewMorphotypes(workspace)
    workspace.record("A", [VerdictOn(i, Verdict.UNLISTED) for i in workspace.ids[:20]])
    count = morphotypes.discover("A")
    assert count == len(morphotypes.list()) > 0
    numbers = {view.number for view in morphotypes.list()}
    sizes = [view.specimens for view in morphotypes.list()]
    assert sizes == sorted(sizes, reverse=True)
    morphotypes.discover("A")
    assert not numbers & {view.number for view in morphotypes.list()}, "numbers are new"
    assert morphotypes.undo("A")["kind"] == "discover"
    assert {view.number for view in morphotypes.list()} == numbers


def test_a_verdict_is_not_a_name_of_a_morphotype(workspace):
    morphotypes = ReviewMorphotypes(workspace)
    number = morphotypes.move("A", [str(workspace.ids[1])])
    for verdict in ("Unknown", "not a specimen"):
        with pytest.raises(InputError, match="a verdict, not a name"):
            morphotypes.name("A", number, verdict)


def test_what_cannot_be_changed_is_refused(workspace):
    morphotypes = ReviewMorphotypes(workspace)
    one = morphotypes.move("A", [str(workspace.ids[1])])
    with pytest.raises(InputError, match="nothing to split"):
        morphotypes.split("A", one)
    with pytest.raises(NotFoundError, match="morphotype 77"):
        morphotypes.split("A", 77)
    with pytest.raises(NotFoundError, match="morphotype 77"):
        morphotypes.merge("A", [one, 77])
    with pytest.raises(NotFoundError, match="no specimen nobody"):
        morphotypes.move("A", ["nobody"])
    assert morphotypes.move("A", [str(workspace.ids[1])], 0) == 0
    assert morphotypes.list() == []
