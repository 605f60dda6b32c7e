"""Groups of specimens: every step can be undone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forametric.review import DecisionStore
from forametric.review.groups import Groups

STEPS = st.lists(
    st.tuples(st.sampled_from("AB"), st.dictionaries(st.sampled_from("pqrs"), st.integers(0, 3))),
    max_size=12,
)


@pytest.fixture
def store(tmp_path):
    return DecisionStore(tmp_path / "d.sqlite")


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_undoing_every_step_leads_back_to_no_groups(tmp_path_factory, steps):
    groups = Groups(DecisionStore(tmp_path_factory.mktemp("g") / "d.sqlite"))
    for reviewer, moves in steps:
        groups.move(reviewer, "move", moves)
    # Backwards in time, the steps of both reviewers in turn.
    for reviewer, _ in reversed(steps):
        assert groups.undo(reviewer) is not None
    assert groups.group_of == {}
    assert groups.undo("A") is None


def test_another_reviewers_later_step_is_not_undone(store):
    groups = Groups(store)
    groups.move("A", "move", {"p": 1, "q": 1})
    groups.move("B", "move", {"q": 2})
    groups.undo("A")
    assert groups.group_of == {"q": 2}


def test_groups_are_found_again_in_a_store_that_was_closed(store):
    groups = Groups(store)
    groups.move("A", "move", {"p": 1, "q": 1})
    groups.move("A", "merge", {"q": 4})
    groups.move("A", "name", {}, group=4, name="Nova")
    store.close()
    found = Groups(DecisionStore.open(store.place))
    assert found.group_of == {"p": 1, "q": 4}
    assert found.names == {4: "Nova"}
    assert found.next_number() == 5


def test_undoing_a_second_name_of_a_group_leaves_the_first(store):
    groups = Groups(store)
    groups.move("A", "move", {"p": 1})
    groups.move("A", "name", {}, group=1, name="Alpha")
    groups.move("A", "name", {}, group=1, name="Beta")
    groups.undo("A")
    assert groups.names == {1: "Alpha"}
    groups.undo("A")
    assert groups.names == {}
