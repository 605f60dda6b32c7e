"""Which reviewer gets which specimens."""

from forametric.data.verdicts import Verdict
from forametric.review import assignment
from forametric.review.assignment import Assignment
from forametric.review.workspace import VerdictOn


def test_two_reviewers_get_different_specimens_until_none_are_left(workspace):
    queue = Assignment(workspace)
    mine, yours = queue.next_batch("A", 30), queue.next_batch("B", 30)
    assert not set(mine) & set(yours)
    assert queue.next_batch("A", 30) == mine, "until they are settled they are A's"
    assert not set(queue.next_batch("A", 3, exclude=mine)) & set(mine)
    workspace.record("A", [VerdictOn(i, Verdict.SKIP) for i in mine])
    assert not set(queue.next_batch("A", 64)) & set(mine)
    assert queue.n_remaining("A") == 34
    others = [i for i in workspace.ids if i not in yours and i not in mine]
    rest = queue.next_batch("A", 64, exclude=others)
    assert set(rest) <= set(yours), "reserved specimens come when nothing else is left"
    assert rest


def test_a_reservation_ends(workspace, monkeypatch):
    queue = Assignment(workspace)
    mine = queue.next_batch("A", 5)
    monkeypatch.setattr(assignment, "RESERVATION_SECONDS", 0.0)
    assert queue.next_batch("B", 5) == mine


def test_the_first_in_the_queue_are_the_most_doubtful(workspace):
    first = [workspace.row_of[i] for i in Assignment(workspace).next_batch("A", 10)]
    error = workspace.identification.error_probability
    assert error[first].mean() > error.mean()
