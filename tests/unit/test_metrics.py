import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t
from sklearn.metrics import adjusted_mutual_info_score

from forametric import metrics
from forametric.analysis.clustering import cluster, estimate_clusters
from forametric.data.embeddings import Embeddings
from forametric.errors import InputError
from forametric.evaluation.evaluate import unseen_scores
from forametric.identification.references import ReferenceSet, subsample_per_class

A, B, C = "abc"


def test_macro_f1_by_hand():
    truth, named = np.array([A, A, A, B]), np.array([A, A, B, B])
    assert metrics.macro_f1(truth, named) == pytest.approx((0.8 + 2 / 3) / 2)


def test_a_name_that_is_not_in_the_truth_is_no_class_of_its_own():
    assert metrics.macro_f1(np.array([A, A]), np.array([A, C])) == pytest.approx(2 / 3)


def test_matching_prefers_the_whole_over_the_largest():
    truth = np.array([A] * 5 + [B] * 4)
    clusters = np.array([0, 0, 0, 1, 1, 0, 0, 0, 0])
    assert metrics.accuracy(truth, metrics.match_clusters(truth, clusters)) == pytest.approx(6 / 9)


@given(labels=st.lists(st.integers(0, 5), min_size=2, max_size=40), seed=st.integers(0, 99))
def test_clustering_scores_do_not_care_how_clusters_are_called(labels, seed):
    truth = np.array([f"t{i}" for i in labels])
    clusters = np.array(labels)
    renamed = np.random.default_rng(seed).permutation(6)[clusters]
    assert metrics.clustering_scores(truth, renamed)["matched_accuracy"] == 1
    assert metrics.clustering_scores(truth, renamed)["ami"] == pytest.approx(1)


def test_the_interval_holds_the_value_and_narrows_with_number():
    truth = np.array([1] * 100)
    few, many = (np.array(([1] * 9 + [0]) * (n // 10)) for n in (100, 100))
    low, high = metrics.bootstrap(metrics.accuracy, truth, few)
    assert low < 0.9 < high
    wide = metrics.bootstrap(metrics.accuracy, truth[:10], many[:10])
    assert wide[1] - wide[0] > high - low


def test_the_interval_is_wider_where_specimens_come_in_groups():
    groups = np.repeat(np.arange(20), 10)
    truth, given = np.ones(200), np.repeat(np.arange(20) % 4 != 0, 10)
    for interval in (metrics.bootstrap, metrics.jackknife):
        low, high = interval(metrics.accuracy, truth, given)
        group_low, group_high = interval(metrics.accuracy, truth, given, groups=groups)
        assert (group_high - group_low) / (high - low) == pytest.approx(np.sqrt(10), rel=0.4)
        one = interval(metrics.accuracy, truth, given, groups=np.zeros(200))
        assert one == [low, high], "a single group tells nothing"


def test_a_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(0).normal(size=20)
    low, high = metrics.jackknife(lambda v: float(v.mean()), values, parts=20)
    expected = t.interval(0.95, 19, values.mean(), values.std(ddof=1) / np.sqrt(20))
    assert (low, high) == pytest.approx(expected)


def test_intervals_of_a_clustering_are_not_too_high():
    """Copies of a specimen share cluster and species: a bootstrap makes AMI too high."""
    rng = np.random.default_rng(0)
    joint = rng.dirichlet(np.full(8 * 8, 0.15)).reshape(8, 8)

    def ami(truth, clusters):
        return float(adjusted_mutual_info_score(truth, clusters))

    def drawn(count):
        return np.unravel_index(rng.choice(64, count, p=joint.ravel()), (8, 8))

    true, within, too_high = ami(*drawn(100_000)), [], []
    for _ in range(60):
        truth, clusters = drawn(150)
        low, high = metrics.jackknife(ami, truth, clusters)
        within.append(low <= true <= high)
        of_copies = metrics.bootstrap(ami, truth, clusters, draws=40)
        too_high.append(np.mean(of_copies) > ami(truth, clusters))
    assert np.mean(within) >= 0.85
    assert np.mean(too_high) == 1


def _groups(centroids, each=12):
    rng = np.random.default_rng(0)
    return np.concatenate(
        [c + 0.05 * rng.normal(size=(each, 3)) for c in np.eye(3)[:centroids] * 3]
    )


def test_clear_groups_are_found_and_counted():
    vectors = _groups(3).astype(np.float32)
    taxa = np.repeat(np.array([A, B, C], object), 12)
    found = unseen_scores(Embeddings.of_vectors(vectors), taxa)
    assert found["matched_accuracy"] == found["recall_at_1"] == found["ami"] == 1
    assert found["estimated"]["clusters"] == estimate_clusters(vectors) == 3
    assert len(set(cluster(vectors, 5)[0])) == 5


def test_too_little_to_cluster_gives_no_figures():
    assert unseen_scores(Embeddings.of_vectors(np.zeros((3, 2))), np.array([A, B, B], object)) == {}


def test_references_name_by_the_nearest_and_far_vectors_are_more_novel(tmp_path):
    vectors = _groups(2).astype(np.float32)
    references = ReferenceSet(
        [str(i) for i in range(24)], np.repeat(np.array([A, B], object), 12), vectors
    )
    assert list(references.predict(np.array([[3, 0, 0], [0, 3, 0]], np.float32))) == [A, B]
    proba = references.votes(vectors)
    assert proba.sum(1) == pytest.approx(1, abs=1e-5)
    near, far = references.novelty(np.array([[3, 0, 0], [9, 9, 9]], np.float32))
    assert far > near
    references.save(tmp_path / "g.parquet")
    again = ReferenceSet.load(tmp_path / "g.parquet")
    assert again.ids == references.ids
    assert (again.vectors == references.vectors).all()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        ReferenceSet.load(tmp_path / "bad.parquet")


def test_subsampling_keeps_every_taxon():
    taxa = np.array([A] * 30 + [B] * 2, object)
    kept = subsample_per_class(taxa, 5, 0)
    assert (taxa[kept] == A).sum() == 5
    assert (taxa[kept] == B).sum() == 2
