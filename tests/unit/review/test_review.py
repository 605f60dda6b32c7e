"""A review from Python."""

import pytest

from forametric.data.collection import Collection
from forametric.errors import InputError, NotFoundError
from forametric.model.model import Model
from forametric.review import Review


def test_a_review_from_the_queue_to_labels(calibrated_folder, more_shells, shells_folder, tmp_path):
    core = Collection.open(more_shells)
    review = Review.create(
        str(tmp_path / "review"),
        core,
        Model.load(calibrated_folder),
        reference_images=[str(shells_folder)],
        depth="depth",
    )
    queue = review.queue(5)
    assert len(queue) == 5
    assert set(queue.table["model"]) == {Model.load(calibrated_folder).fingerprint}
    filled = queue.table.assign(expert=["Nova species"] * 3 + ["unknown", ""])
    assert review.record(filled, reviewer="K. Lee") == 4
    assert review.record(filled, reviewer="K. Lee") == 0
    again = Review.open(tmp_path / "review")
    assert len(again.consensus()) == 4
    assert again.agreement()["cohen"] == []
    assert len(again.history()) == 4
    labelled = again.labelled().specimens.set_index("id")
    assert labelled["verdict"].value_counts().to_dict() == {"taxon": 3, "unlisted": 1}
    rest = review.queue()
    assert len(rest) == 60
    assert not set(rest.table["id"]) & set(filled["id"][:4])
    assert "Nova species" in review.workspace.identification.taxa
    page = (rest.save(tmp_path / "queue") / "queue.html").read_text()
    assert "nearest reference of" in page
    assert repr(review).endswith("4 decisions)")


def test_a_review_without_anything_left_says_so(folder, more_shells):
    review = Review.open(folder)
    table = Collection.open(more_shells).specimens.assign(expert="Nova species")
    review.record(table, reviewer="A")
    with pytest.raises(InputError, match="every specimen"):
        review.queue(5)
    with pytest.raises(NotFoundError, match="is not a review project"):
        Review.open(folder / "nothing")
