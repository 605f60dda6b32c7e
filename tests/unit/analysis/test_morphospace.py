"""The map keeps still, survives the disk, and its drawings hide and leak nothing."""

from __future__ import annotations

import html
import json
import re
from copy import copy
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from forametric.analysis.morphospace import Morphospace, perplexity_for
from forametric.analysis.plots.colors import make_legend, palette, rgb_to_lab
from forametric.analysis.plots.placement import overlap, place_boxes
from forametric.data.embeddings import Embeddings
from forametric.errors import ImageError, InputError

GROUPS = 4


def groups(count: int = 120, seed: int = 3) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    centroids = random.normal(0, 4, (GROUPS, 8))
    return (centroids[np.arange(count) % GROUPS] + random.normal(0, 1, (count, 8))).astype(
        np.float32
    )


def taxa(count: int = 120) -> list[str]:
    return [f"Genus species{i % GROUPS}" for i in range(count)]


def picture(i: int) -> NDArray[np.uint8]:
    return np.full((30, 30, 3), 40 + i, np.uint8)


@pytest.fixture(scope="module")
def space() -> Morphospace:
    return Morphospace(seed=5).fit(groups())


def test_the_same_seed_gives_the_same_layout(space: Morphospace) -> None:
    again = Morphospace(seed=5).fit(groups())
    np.testing.assert_array_equal(again.coordinates_, space.coordinates_)
    assert space.coordinates_.shape == (120, 2)
    assert space.coordinates_.dtype == np.float32
    assert space.ids_[:2] == ["0", "1"]


def test_groups_stay_together(space: Morphospace) -> None:
    distance = np.linalg.norm(space.coordinates_[:, None] - space.coordinates_, axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (distance.argmin(1) % GROUPS == np.arange(120) % GROUPS).mean() > 0.95


def test_a_copy_is_placed_beside_its_original_and_the_old_stay(space: Morphospace) -> None:
    before = space.coordinates_.copy()
    placed = space.transform(space.vectors_[:20])
    np.testing.assert_array_equal(space.coordinates_, before)
    width = np.ptp(space.coordinates_, axis=0).max()
    off = np.linalg.norm(placed - before[:20], axis=1) / width
    assert np.median(off) < 0.03
    assert off.max() < 0.08
    np.testing.assert_array_equal(space.transform(space.vectors_[:20]), placed)
    np.testing.assert_allclose(
        space.transform(space.vectors_[7:8])[0], placed[7], atol=1e-3 * width
    )
    assert space.transform(np.zeros((0, 8))).shape == (0, 2)


def test_a_large_map_places_most_among_landmarks() -> None:
    vectors = groups(300)
    large = Morphospace(seed=4, max_landmarks=90).fit(vectors)
    assert large.is_landmark_.sum() == 90
    again = Morphospace(seed=4, max_landmarks=90).fit(vectors)
    assert (again.coordinates_ == large.coordinates_).all()
    apart = np.linalg.norm(large.coordinates_[:, None] - large.coordinates_[None], axis=2)
    nearest = (apart + np.eye(300) * 1e9).argmin(1)
    names = np.array(taxa(300))
    assert (names == names[nearest]).mean() > 0.95
    kept = large.knn_preservation()
    assert set(kept) == {"landmarks", "placed"}
    assert all(0.1 < share <= 1 for share in kept.values()), "chance would keep 0.03"
    shuffled = copy(large)
    shuffled.coordinates_ = np.random.default_rng(0).permutation(large.coordinates_)
    assert max(shuffled.knn_preservation().values()) < 0.1
    placed = large.transform(vectors[:5])
    assert np.hypot(*(placed - large.coordinates_[:5]).T).max() < 5


def test_a_tiny_map_is_linear_and_places_exactly() -> None:
    tiny = Morphospace().fit(groups(6))
    np.testing.assert_allclose(tiny.transform(tiny.vectors_), tiny.coordinates_, atol=1e-4)
    assert Morphospace().fit([[0.0], [1.0], [3.0]]).coordinates_.shape == (3, 2)
    assert Morphospace().fit(np.arange(12.0)[:, None]).coordinates_.shape == (12, 2)


def test_the_perplexity_is_lowered_for_few_specimens() -> None:
    assert perplexity_for(1000, 30) == 30
    assert perplexity_for(16, 30) == 5
    assert Morphospace().fit(groups(16)).perplexity_ == 5
    with pytest.raises(InputError, match="perplexity"):
        perplexity_for(100, 0)


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (np.zeros((2, 4)), "at least 3"),
        (np.array([[1.0, np.nan]] * 5), "NaN"),
        (np.ones((20, 4)), "the same"),
        (np.ones(7), "table of rows"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(vectors: NDArray[np.float64], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Morphospace().fit(vectors)


def test_vectors_of_another_length_cannot_be_placed(space: Morphospace) -> None:
    with pytest.raises(InputError, match="length 8"):
        space.transform(np.zeros((2, 5)))


def test_save_and_load_return_the_same(space: Morphospace, tmp_path: Path) -> None:
    path = tmp_path / "map.parquet"
    space.save(path)
    back = Morphospace.load(path)
    assert (back.ids_, back.seed, back.perplexity_) == (space.ids_, space.seed, space.perplexity_)
    np.testing.assert_array_equal(back.vectors_, space.vectors_)
    np.testing.assert_array_equal(back.coordinates_, space.coordinates_)
    assert [p.name for p in tmp_path.iterdir()] == ["map.parquet"]


def test_damaged_and_foreign_files_are_refused(space: Morphospace, tmp_path: Path) -> None:
    path = tmp_path / "map.parquet"
    with pytest.raises(InputError, match="does not exist"):
        Morphospace.load(path)
    space.save(path)
    table = pq.read_table(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="readable Parquet"):
        Morphospace.load(path)
    pq.write_table(table.replace_schema_metadata({}), path)
    with pytest.raises(InputError, match="not a Forametric map"):
        Morphospace.load(path)
    later = json.dumps({"version": 99, "seed": 0, "perplexity": 30})
    pq.write_table(table.replace_schema_metadata({"forametric.morphospace": later}), path)
    with pytest.raises(InputError, match="format 99"):
        Morphospace.load(path)
    pq.write_table(table.drop_columns(["vector"]), path)
    with pytest.raises(InputError, match="damaged"):
        Morphospace.load(path)


def test_plot_draws_with_and_without_pictures(space: Morphospace, tmp_path: Path) -> None:
    def some_unreadable(i: int) -> NDArray[np.uint8]:
        if i % 3 == 0:
            raise ImageError("unreadable")
        return picture(i)

    bare, full = tmp_path / "bare.png", tmp_path / "full.png"
    space.plot(bare)
    new = Embeddings.of_vectors(space.vectors_[:3])
    new.table["taxon"] = ["Genus species0", "New one", ""]
    space.plot(full, color=taxa(), images=some_unreadable, title="Cost $5 <b>", new=new)
    with Image.open(bare) as small, Image.open(full) as large:
        assert small.width == large.width == 2160
        assert large.height > small.height > 1000
        shades = {c for _, c in large.convert("RGB").getcolors(1 << 24)}
    assert any(r == g == b and 40 < r < 160 for r, g, b in shades)
    space.plot(str(tmp_path / "map.svg"), color=[*taxa(119), ""])
    assert (tmp_path / "map.svg").stat().st_size > 1000
    with pytest.raises(InputError, match=r"\.pdf"):
        space.plot(tmp_path / "map.gif")
    with pytest.raises(InputError, match="3 taxa"):
        space.plot(bare, color=["a", "b", "c"])


def test_pictures_never_overlap_and_stay_in_the_frame() -> None:
    points = np.random.default_rng(0).uniform(0.3, 6.7, (400, 2))
    taken = [(3.0, 3.0, 3.3, 3.2)]
    boxes = place_boxes(points[:200], points, (0.4, 0.4), (0.0, 0.0, 7.0, 7.0), taken)
    found = [box for box in boxes if box is not None]
    assert len(found) > 80
    everything = found + taken
    for i, a in enumerate(everything):
        assert not any(overlap(a, b) for b in everything[:i])
        assert 0 <= a[0] < a[2] <= 7
        assert 0 <= a[1] < a[3] <= 7


def test_73_colors_are_told_apart() -> None:
    colors = palette(73)
    assert colors.shape == (73, 3)
    assert colors.min() >= 0
    assert colors.max() <= 1
    lab = rgb_to_lab(colors)
    distance = np.linalg.norm(lab[:, None] - lab, axis=2)
    np.fill_diagonal(distance, np.inf)
    assert distance.min() > 14
    np.testing.assert_array_equal(palette(20), colors[:20])


def test_a_legend_counts_each_taxon_and_leaves_the_unnamed_out() -> None:
    legend = make_legend(np.eye(4, 2, dtype=np.float32), ["b", "", "a", "b"])
    assert legend.names == ["a", "b"]
    assert legend.counts == [1, 2]
    assert legend.of.tolist() == [1, -1, 0, 1]
    assert len(set(legend.colors)) == 2


def test_the_page_cannot_be_broken_by_a_name(space: Morphospace, tmp_path: Path) -> None:
    hostile = "</script><b>&amp; <!--"
    path = tmp_path / "map.html"
    space.to_html(path, color=[hostile, *taxa(119)], images=picture, title=hostile)
    page = path.read_text(encoding="utf-8")
    assert hostile not in page
    assert page.count("</script>") == 2
    assert f"<title>{html.escape(hostile)}</title>" in page
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    assert found is not None
    data = json.loads(found[1])
    assert hostile in data["names"]
    assert sorted(data["pictured"]) == list(range(120))
    assert data["sheet"].startswith("data:image/jpeg;base64,")
    assert not re.search(r"https?://|src=", page)
    space.to_html(str(path), images=False, title="bare")
