import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forametric.embedding.network import Deployed, SpecimenNetwork, build, symmetries, whiten
from forametric.embedding.recipe import Augment, Loss, Recipe, Sampler, recipe_names
from forametric.errors import RecipeError
from forametric.training.augment import augment
from forametric.training.losses import (
    BatchLoss,
    hardest_negative_triplets,
    reciprocal_triplet_loss,
    squared_distances,
    triplet_loss,
)
from forametric.training.sampling import epoch_batches

LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
LABELS = torch.tensor([0, 0, 1, 1])


def test_each_pair_is_mined_with_the_hardest_negative():
    a, p, n = hardest_negative_triplets(squared_distances(LINE), LABELS)
    assert sorted(zip(a.tolist(), p.tolist(), n.tolist(), strict=True)) == [
        (0, 1, 2), (1, 0, 2), (2, 3, 1), (3, 2, 1),
    ]  # fmt: skip


def test_reciprocal_triplet_loss_by_hand():
    by_hand = np.mean([1 + 1 / 9, 1 + 1 / 4, 16 + 1 / 4, 16 + 1 / 36])
    assert reciprocal_triplet_loss(LINE, LABELS).item() == pytest.approx(by_hand)


def test_triplet_loss_by_hand():
    by_hand = np.mean([0, 0, 16 - 4 + 0.5, 0])
    assert triplet_loss(LINE, LABELS, 0.5).item() == pytest.approx(by_hand)


def test_one_label_only_gives_no_triplets_and_a_loss_of_zero():
    vectors = LINE.clone().requires_grad_()
    for loss in (
        reciprocal_triplet_loss(vectors, LABELS * 0),
        triplet_loss(vectors, LABELS * 0, 1),
    ):
        assert loss.item() == 0
        loss.backward()


@given(seed=st.integers(0, 50), labels=st.lists(st.integers(0, 4), min_size=2, max_size=24))
def test_mined_negatives_are_negatives_and_the_nearest(seed, labels):
    numbers = torch.tensor(labels)
    vectors = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed))
    squared = squared_distances(vectors)
    for a, p, n in zip(*hardest_negative_triplets(squared, numbers), strict=True):
        assert a != p
        assert numbers[a] == numbers[p]
        assert numbers[a] != numbers[n]
        assert squared[a, n] == squared[a][numbers != numbers[a]].min()


def test_coinciding_specimens_give_a_finite_gradient():
    vectors = torch.zeros(4, 2, requires_grad=True)
    reciprocal_triplet_loss(vectors, LABELS).backward()
    assert torch.isfinite(vectors.grad).all()


METRICS = ["none", "supcon", "triplet", "reciprocal", "multisimilarity", "arcface", "proxyanchor"]


@pytest.mark.parametrize("metric", METRICS)
def test_every_loss_learns_from_both_parts(metric):
    vectors = torch.randn(8, 4, requires_grad=True)
    scores = torch.randn(8, 2, requires_grad=True)
    loss = BatchLoss(Loss(metric=metric, metric_weight=0.5), classes=2, dimensions=4)
    loss(vectors, scores, torch.tensor([0, 1] * 4)).backward()
    assert torch.isfinite(vectors.grad).all()
    assert scores.grad.abs().sum() > 0
    assert (vectors.grad.abs().sum() > 0) == (metric != "none")


def test_only_a_trained_classifier_is_a_class_head():
    """An untrained head would take part in every score."""
    without = {name for name in recipe_names() if not Recipe.load(name).has_class_head}
    assert without == {"frozen", "triplet", "reciprocal"}
    assert not Recipe.load("default", ["epochs=0"]).has_class_head
    settings = Recipe.load("default", ["network.image_size=32", "network.pretrained=false"]).network
    network, _ = build(settings, classes=0)
    vectors, scores = network(torch.zeros((2, 3, 32, 32), dtype=torch.uint8))
    assert scores is None
    assert torch.isfinite(
        BatchLoss(Loss(cross_entropy=0, metric="triplet", metric_weight=1.0), 2, 4)(
            vectors, scores, torch.tensor([0, 1])
        )
    )


def test_frozen_layers_keep_weights_and_statistics_and_the_others_learn():
    settings = Recipe.load("default", ["network.freeze=0.5", "network.image_size=32"]).network
    network, _ = build(settings, classes=2)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    network.train()
    _, scores = network(torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8))
    scores.logsumexp(1).sum().backward()
    optimiser.step()
    after = network.state_dict()
    changed = {k.removeprefix("backbone.") for k in before if not torch.equal(before[k], after[k])}
    assert not any(k.startswith(("conv_stem", "bn1", "blocks.0", "blocks.1")) for k in changed)
    assert any(k.startswith("conv_head") for k in changed)
    assert {"bn2.running_mean", "head.weight"} <= changed


def test_frozen_layers_keep_their_statistics_when_these_are_synchronised():
    settings = Recipe.load("default", ["network.freeze=0.5", "network.image_size=32"]).network
    network, _ = build(settings, classes=2)
    normalising = [m for m in network.train().modules() if isinstance(m, torch.nn.BatchNorm2d)]
    frozen = sum(not layer.training for layer in normalising)
    assert 0 < frozen < len(normalising)
    network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network).train()
    again = [m for m in network.backbone.modules() if isinstance(m, torch.nn.SyncBatchNorm)]
    assert sum(not layer.training for layer in again) == frozen


@pytest.mark.parametrize("kind", ["balanced", "triplets", "shuffle"])
def test_batches_are_the_same_for_the_same_epoch_and_differ_between_epochs(kind):
    labels = np.repeat(np.arange(6), [1, 2, 5, 9, 20, 40])
    settings = Sampler(kind=kind)
    one, again, other = (epoch_batches(labels, settings, 3, epoch) for epoch in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(one, other, strict=True))


@given(counts=st.lists(st.integers(1, 30), min_size=2, max_size=12), seed=st.integers(0, 9))
def test_balanced_batches_hold_enough_of_each_species(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    for batch in epoch_batches(labels, Sampler(species=8, specimens=4), seed, 0):
        _, per_species = np.unique(labels[batch], return_counts=True)
        assert len(per_species) == min(8, len(counts))
        assert per_species.min() >= 4


def test_triplets_are_anchor_positive_negative():
    labels = np.repeat(np.arange(4), [1, 3, 8, 20])
    for batch in epoch_batches(labels, Sampler(kind="triplets", species=16), 0, 0):
        anchors, positives, negatives = labels[batch].reshape(3, -1)
        assert (anchors == positives).all()
        assert (anchors != negatives).all()


def test_negatives_are_of_a_species_drawn_uniformly():
    """As in the published code; drawn by specimen, the rare species would be 2 % of them."""
    labels = np.repeat(np.arange(3), [400, 4, 196])
    batches = epoch_batches(labels, Sampler(kind="triplets", species=16), 0, 0)
    negatives = np.concatenate([labels[b].reshape(3, -1)[2][labels[b].reshape(3, -1)[0] == 0]
                                for b in batches])  # fmt: skip
    assert (negatives == 1).mean() == pytest.approx(0.5, abs=0.1)


def test_a_crop_is_a_window_of_the_stated_area_at_a_random_place():
    side = 64
    ramp = (torch.arange(side) + 0.5).expand(3, side, side).round().to(torch.uint8)
    images = torch.stack([ramp, ramp.transpose(1, 2)]).repeat(50, 1, 1, 1)
    settings = Augment(rotation=0, mirror=False, crop=(0.25, 0.25))
    found = augment(images, settings, torch.Generator().manual_seed(0))
    across, down = found[0::2, 0], found[1::2, 0].transpose(1, 2)
    for part in (across, down):
        width = part[:, 32, -8] - part[:, 32, 8]
        assert width.mean().item() == pytest.approx((side - 16) / 2, abs=1)  # a half of the side
        left = part[:, 32, 0]
        assert left.min() < 5
        assert left.max() > side / 2 - 6
    whole = augment(images, Augment(rotation=0, mirror=False), torch.Generator())
    assert torch.allclose(whole, images.float(), atol=1e-3)


def test_the_hidden_neck_has_the_dropout_of_its_recipe():
    """It was ignored: hsiang2019 trained without its dropout of 0.5."""
    settings = Recipe.load("hsiang2019", ["network.backbone=tf_efficientnet_lite0"]).network
    network = SpecimenNetwork(settings, "tf_efficientnet_lite0", 3)
    assert [m.p for m in network.neck.modules() if isinstance(m, torch.nn.Dropout)] == [0.5]


def test_augmentation_repeats_by_its_seed_and_fills_with_the_plate():
    squares = torch.full((3, 3, 32, 32), 200, dtype=torch.uint8)
    squares[:, :, 12:20, 8:24] = 10
    settings = Augment(scale=(0.8, 0.9), blur=(0.1, 1.0))
    first, again = (augment(squares, settings, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert (first[:, :, [0, 0, -1, -1], [0, -1, 0, -1]] - 200).abs().max() < 1e-3


def test_handed_images_are_reflected_only_on_request():
    squares = torch.zeros((64, 3, 16, 16), dtype=torch.uint8)
    squares[:, :, 2:14, 2:5] = 200  # on the left
    handed = torch.arange(64) % 2 == 0

    def reflected(mirror):
        settings = Augment(rotation=0, mirror=mirror)
        turned = augment(squares, settings, torch.Generator().manual_seed(0), handed)
        return turned[:, 0, 8, 12] > 100

    auto, always, never = reflected("auto"), reflected(True), reflected(False)
    assert not auto[handed].any()
    assert torch.equal(auto[~handed], always[~handed])
    assert 16 < int(always.sum()) < 48
    assert always[handed].any()
    assert not never.any()


def test_no_augmentation_leaves_the_square_alone():
    squares = torch.randint(0, 255, (2, 3, 16, 16), dtype=torch.uint8)
    still = augment(squares, Augment(rotation=0, mirror=False), torch.Generator())
    assert torch.allclose(still, squares.float(), atol=1e-2)


def test_a_recipe_that_extends_another_changes_only_what_it_says(tmp_path):
    parent, child = Recipe.load("karaderi2022"), Recipe.load("triplet")
    assert child.network == parent.network
    assert child.augment == parent.augment
    assert child.loss == Loss(cross_entropy=0, metric="triplet", metric_weight=1.0)
    assert (child.optimiser.momentum, parent.optimiser.momentum) == (0.9, 0.0)
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nabout = ""\nextends = "triplet"\nepochs = 2'
    )
    mine = Recipe.load(tmp_path / "mine.toml")
    assert (mine.name, mine.epochs, mine.loss) == ("mine", 2, child.loss)
    (tmp_path / "mine.toml").write_text(f'extends = "{tmp_path / "mine.toml"}"')
    with pytest.raises(RecipeError, match="extends itself"):
        Recipe.load(tmp_path / "mine.toml")
    (tmp_path / "base.toml").write_text('extends = "triplet"\nepochs = 7')
    (tmp_path / "mine.toml").write_text('extends = "base.toml"\ntta_views = 4')
    found = Recipe.load(tmp_path / "mine.toml")
    assert (found.epochs, found.tta_views) == (7, 4), (
        "a file is looked for beside the one that names it"
    )
    (tmp_path / "mine.toml").write_text('extends = "absent"')
    with pytest.raises(RecipeError, match="'absent'"):
        Recipe.load(tmp_path / "mine.toml")


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_names_itself(name):
    assert Recipe.load(name).name == name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["epochs"], "key=value"),
        (["epochs=many"], "epochs"),
        (["network.bone=1"], "network.bone"),
        (["network.image_size=4"], "network.image_size"),
    ],
)
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(RecipeError, match=message):
        Recipe.load("default", settings)


def test_an_unknown_recipe_lists_the_known():
    with pytest.raises(RecipeError, match="karaderi2022"):
        Recipe.load("defualt")


def test_the_packaged_weights_recognise_shapes_better_than_chance(shells):
    """The tensors went to the right places: frozen features name shells of four forms."""
    from forametric.identification.references import ReferenceSet
    from forametric.images import load_images

    network, backbone = build(Recipe.load("frozen").network, 4)
    assert backbone == "tf_efficientnet_lite0"
    squares, _, _ = load_images(shells.paths(), 64)
    vectors = Deployed(network, 1).eval()(torch.from_numpy(squares))[0].detach().numpy()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    even = np.arange(len(vectors)) % 2 == 0
    references = ReferenceSet(
        [str(i) for i in range(even.sum())], shells.taxa()[even], vectors[even]
    )
    assert (references.predict(vectors[~even]) == shells.taxa()[~even]).mean() > 0.6


def test_the_eight_symmetries_are_all_different():
    square = torch.arange(9).view(1, 1, 3, 3)
    assert len({tuple(s.flatten().tolist()) for s in symmetries(square, 8)}) == 8


def test_views_make_the_vector_blind_to_quarter_turns():
    network, _ = build(Recipe.load("frozen").network, 2)
    squares = torch.randint(0, 255, (1, 32, 32, 3), dtype=torch.uint8)
    deployed = Deployed(network, 8).eval()
    one, turned = (deployed(s)[0] for s in (squares, torch.rot90(squares, 1, (1, 2))))
    assert torch.allclose(one, turned, atol=1e-5)


def test_a_backbone_without_weights_falls_back_loudly(monkeypatch, caplog):
    import timm

    create = timm.create_model

    def offline(name, pretrained=False, **settings):
        if pretrained:
            raise ConnectionError("no network")
        return create(name, pretrained=False, **settings)

    monkeypatch.setattr(timm, "create_model", offline)
    _, backbone = build(Recipe.load("karaderi2022").network, 3)
    assert backbone == "tf_efficientnet_lite0"
    assert "resnet50" in caplog.text


def _bare(width: int = 6):
    """A network whose features are whatever is handed to `whiten`: only its projection matters."""
    recipe = Recipe.load("default", ["network.image_size=32", "network.pretrained=false"])
    network, _ = build(recipe.network, 2)
    network.project = torch.nn.Linear(width, 2)
    network.dimensions = 2
    return network


def test_whitened_components_have_equal_variance_and_keep_their_mean():
    generator = torch.Generator().manual_seed(0)
    spreads = torch.tensor([3.0, 2.0, 1.5, 1.0, 0.5, 0.1])
    features = torch.randn(20_000, 6, generator=generator) * spreads + 5
    network = _bare()
    whiten(network, features, np.zeros(20_000, np.int64), 4)
    assert network.dimensions == 2 + 4
    projected = network.whitened(features).detach()
    assert network.whitened(torch.zeros(1, 6)).abs().max() == 0
    assert torch.cov(projected.T).numpy() == pytest.approx(np.eye(4), abs=0.05)


def test_few_specimens_do_not_blow_small_variances_up():
    features = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    features[:, 5] = features[:, 4]  # a direction without any variance
    network = _bare()
    whiten(network, features, np.arange(8) % 2, 6)
    lengths = torch.linalg.norm(network.whitened.weight, dim=1)
    assert lengths.max() / lengths.min() < 2


def test_specimens_that_are_all_alike_can_be_whitened():
    """Eigensolvers do not converge on such a covariance on some processors."""
    network = _bare(200)
    whiten(network, torch.full((18, 200), 0.5), np.arange(18) % 2, 100)
    assert network.dimensions == 2 + 100
    assert torch.isfinite(network.whitened.weight).all()


def test_fewer_specimens_than_features_are_whitened_along_what_varies():
    generator = torch.Generator().manual_seed(2)
    features = torch.zeros(10, 50)
    features[:, 3] = 9 * torch.randn(10, generator=generator)
    features[:, 7] = 3 * torch.randn(10, generator=generator)
    network = _bare(50)
    whiten(network, features, np.zeros(10, np.int64), 5)
    assert network.whitened.weight[0].abs().argmax() == 3
    assert network.whitened.weight[1].abs().argmax() == 7
