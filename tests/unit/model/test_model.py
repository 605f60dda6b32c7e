"""A model: loading, identifying, calibrating, learning a species; what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from forametric.data.collection import Collection
from forametric.data.embeddings import read_vectors, write_vectors
from forametric.data.importers import import_collection
from forametric.errors import InputError, ModelError
from forametric.model import embed_collection
from forametric.model.embed_collection import embed_to_file, embeddings_of
from forametric.model.identify import identify_images
from forametric.model.model import Model
from forametric.utils.files import sha256


@pytest.fixture(scope="module")
def model(model_folder) -> Model:
    return Model.load(model_folder)


@pytest.fixture(scope="module")
def calibrated(calibrated_folder) -> Model:
    return Model.load(calibrated_folder)


def test_a_loaded_model_embeds_as_the_saved_one(model, shells):
    place = {i: row for row, i in enumerate(shells.specimens["id"])}
    rows = [place[i] for i in model.references.ids]
    assert np.allclose(model.embed(shells.select(rows)), model.references.vectors, atol=1e-5)


def test_a_damaged_or_unknown_model_is_refused(model_folder, tmp_path):
    with pytest.raises(ModelError, match="not a model"):
        Model.load(tmp_path)
    shutil.copytree(model_folder, tmp_path / "m")
    weights = tmp_path / "m" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(ModelError, match="damaged"):
        Model.load(tmp_path / "m")
    weights.unlink()
    with pytest.raises(ModelError, match="lacks its file"):
        Model.load(tmp_path / "m")
    card = json.loads((tmp_path / "m" / "model.json").read_text()) | {"format": 99}
    (tmp_path / "m" / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="model format 99"):
        Model.load(tmp_path / "m")


def _edited(folder, target, change, rehash=True):
    """A copy of a model with another model.json; `change` gets the card and the folder."""
    shutil.copytree(folder, target)
    card = json.loads((target / "model.json").read_text())
    change(card, target)
    if rehash:
        card["files"] |= {name: sha256(target / name) for name in card["files"]}
    (target / "model.json").write_text(json.dumps(card))
    return target


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classes", lambda c: c["classes"][:-1], "does not fit the network"),
        ("classes", lambda c: c["classes"] + c["classes"][:1], "classes: .*more than once"),
        ("classes", lambda c: ["", *c["classes"][1:]], "model.json is damaged: classes"),
        ("classes", lambda c: c["classes"][::-1], "its fingerprint differs"),
        ("fingerprint", lambda c: "", "its fingerprint differs"),
        ("dimensions", lambda c: c["dimensions"] + 1, "does not fit the network"),
        ("dimensions", lambda c: 0, "model.json is damaged: dimensions"),
        ("files", lambda c: {}, "does not list references"),
        ("files", lambda c: c["files"] | {"../x": "0" * 64}, "'../x' is not a file of a model"),
        ("files", lambda c: dict.fromkeys(c["files"], "x"), "model.json is damaged: files"),
        ("seed", lambda c: float("nan"), "model.json is damaged: seed"),
        ("data", lambda c: {}, "model.json is damaged: data.collection"),
        ("training", lambda c: {"epochs": [3]}, "model.json is damaged: training.epochs"),
    ],
)
def test_a_changed_model_card_is_refused(model_folder, tmp_path, key, value, message):
    def change(card, _):
        card[key] = value(card)

    with pytest.raises(ModelError, match=message):
        Model.load(_edited(model_folder, tmp_path / "m", change, rehash=False))


def test_an_image_size_that_does_not_fit_the_graph_is_refused(model_folder, tmp_path):
    def change(card, _):
        card["recipe"]["network"]["image_size"] += 32

    with pytest.raises(ModelError, match="does not fit the network and the references: image size"):
        Model.load(_edited(model_folder, tmp_path / "m", change))


@pytest.mark.parametrize(
    ("key", "value"),
    [("temperature", float("nan")), ("temperature", 0), ("nonconformity", []), ("novelty", []),
     ("specimens", 0), ("prior", {"x": 2})],
)  # fmt: skip
def test_a_calibration_with_wrong_values_is_refused(calibrated_folder, tmp_path, key, value):
    def change(_, folder):
        path = folder / "calibration.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    with pytest.raises(ModelError, match=rf"calibration.json is damaged: {key}"):
        Model.load(_edited(calibrated_folder, tmp_path / "m", change))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("NaN", "column vector has values that are not finite"),
        ("width", "does not fit the network and the references"),
        ("no id", "has no column id"),
        ("no taxon", "has references without a taxon"),
        ("others", "its fingerprint differs"),
    ],
)
def test_wrong_references_are_refused(model_folder, tmp_path, wrong, message):
    def change(_, folder):
        path = folder / "references.parquet"
        table, vectors = read_vectors(path)
        ids, taxa, vectors = table["id"].tolist(), table["taxon"].tolist(), vectors.copy()
        if wrong == "NaN":
            vectors[3, 3] = np.nan
        elif wrong == "width":
            vectors = vectors[:, :-1]
        elif wrong == "no taxon":
            taxa[3] = None
        elif wrong == "others":
            taxa[3] = "Another taxon"
        write_vectors(path, ids, vectors, {"taxon": taxa})
        if wrong == "no id":
            pq.write_table(pq.read_table(path).drop_columns(["id"]), path)

    with pytest.raises(ModelError, match=message):
        Model.load(_edited(model_folder, tmp_path / "m", change))


def test_a_damaged_calibration_is_refused(calibrated_folder, tmp_path):
    shutil.copytree(calibrated_folder, tmp_path / "m")
    with (tmp_path / "m" / "calibration.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ModelError, match="its hash differs"):
        Model.load(tmp_path / "m")


def test_a_calibrated_model_decides_and_a_bare_one_refuses(calibrated, model, more_shells):
    table = calibrated.identify(more_shells, conformal_alpha=0.1).table
    assert set(table["decision"]) <= {"accepted", "genus", "ambiguous", "unknown"}
    assert (table["taxon"].eq("") == table["decision"].isin(["ambiguous", "unknown"])).all()
    assert table["sample"].nunique() == 4
    named = table["conformal_set"].str.split("|")
    assert all(best in names for best, names in zip(table["best"], named, strict=True))
    with pytest.raises(InputError, match="between 0 and 1"):
        calibrated.identify(more_shells, min_probability=7)
    with pytest.raises(ModelError, match="forametric calibrate"):
        model.identify(more_shells, conformal_alpha=0.1)


def test_a_batch_without_a_readable_image_stops_no_run(calibrated, more_shells, tmp_path):
    for name in ("a.png", "b.png", "d.png"):
        (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(InputError, match="none of the 3 images can be read"):
        calibrated.identify(tmp_path)
    shutil.copy(Collection.open(more_shells).paths()[0], tmp_path / "c.png")
    found = identify_images(calibrated.embedder, calibrated.identifier, tmp_path, batch_size=1)
    assert found.table["image"].tolist() == ["c.png"]
    assert found.skipped["image"].tolist() == ["a.png", "b.png", "d.png"]
    assert found.rows.tolist() == [2]


def test_the_fingerprint_follows_weights_references_and_calibration(model, calibrated, more_shells):
    """Model and model-2 once shared one identity: the hash of the weights alone."""
    more = Collection.open(more_shells)
    some = more.query("taxon == taxon.iloc[0]").select(np.arange(3))
    grown = model.add_references(some)
    models = (model, calibrated, grown)
    assert len({m.fingerprint for m in models}) == 3
    assert len({m.title for m in models}) == 3
    assert {m.weights_sha256 for m in models} == {model.weights_sha256}
    assert len(model.references) + 3 == len(grown.references), "the old one is as it was"
    assert model.calibration is None


def test_a_twin_that_a_model_cannot_tell_is_named(model, more_shells, caplog):
    more = Collection.open(more_shells)
    pachyderma = more.specimens.assign(label="N. pachyderma", taxon="Neogloboquadrina pachyderma")
    twins = Collection(pachyderma.head(2), more.images, more.info)
    model.add_references(twins)
    assert "Neogloboquadrina pachyderma: told from others by the direction of coil" in caplog.text
    caplog.clear()
    mirror = model.recipe.augment.model_copy(update={"mirror": False})
    recipe = model.recipe.model_copy(update={"augment": mirror})
    card = model.card.model_copy(update={"recipe": recipe})
    replace(model, card=card).add_references(twins)
    assert not caplog.records


def test_the_card_lists_the_taxa_that_were_added(model, more_shells, tmp_path):
    """It once said that names outside the training list are not known to the model."""
    more = Collection.open(more_shells)
    new = sorted(set(more.taxa()) - set(model.taxa))
    grown = model.add_references(more.select(np.isin(more.taxa().astype(str), new)))
    grown.save(tmp_path / "m")
    readme = (tmp_path / "m" / "README.md").read_text()
    for taxon in new:
        assert f"- {taxon} (16)" in readme
    assert f"Added after training: {', '.join(new)}." in readme
    assert f"{len(grown.references)} reference specimens of {len(grown.taxa)} taxa" in readme
    again = Model.load(tmp_path / "m")
    assert again.fingerprint == grown.fingerprint == again.card.fingerprint
    assert again.fingerprint in readme
    assert again.weights_sha256 == model.weights_sha256
    assert again.predict(again.embed(more)).tolist() == grown.predict(grown.embed(more)).tolist()


def test_vectors_in_a_file_name_specimens_without_their_images(model, shells, tmp_path):
    embed_to_file(model, shells, tmp_path / "v.parquet")
    plain, read = model.embed(shells), embeddings_of(model, shells, tmp_path / "v.parquet")
    assert read.rows.tolist() == plain.rows.tolist()
    assert np.allclose(read.class_probabilities, plain.class_probabilities, atol=1e-6)
    scores = model.identifier.class_scores
    assert np.allclose(scores(read), scores(plain), atol=1e-5)
    backwards = shells.select(list(range(len(shells)))[::-1])
    turned = embeddings_of(model, backwards, tmp_path / "v.parquet")
    assert np.array_equal(turned.class_probabilities, read.class_probabilities[::-1])


def test_embed_resumes_after_an_interruption(model, shells, tmp_path, monkeypatch):
    whole = tmp_path / "whole.parquet"
    embed_to_file(model, shells, whole, batch_size=20)
    embed = type(model.embedder).embed_in_batches

    def interrupted(embedder, images, table, **settings):
        for number, part in enumerate(embed(embedder, images, table, **settings)):
            if number == 1:
                raise KeyboardInterrupt
            yield part

    with monkeypatch.context() as patched:
        patched.setattr(type(model.embedder), "embed_in_batches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            embed_to_file(model, shells, tmp_path / "v.parquet", batch_size=20)
    assert not (tmp_path / "v.parquet").exists()
    embedded = []

    def only_the_rest(embedder, images, table, **settings):
        embedded.extend(images)
        return embed(embedder, images, table, **settings)

    monkeypatch.setattr(type(model.embedder), "embed_in_batches", only_the_rest)
    embed_to_file(model, shells, tmp_path / "v.parquet", batch_size=20)
    assert embedded == shells.paths()[20:]
    (a, x), (b, y) = read_vectors(whole), read_vectors(tmp_path / "v.parquet")
    assert list(a["id"]) == list(b["id"]) == list(shells.specimens["id"])
    assert np.allclose(x, y, atol=1e-6)


def test_an_image_that_changed_meanwhile_is_embedded_again(model, picture, tmp_path):
    for number in range(3):
        picture(f"in/{number}.png", seed=number)
    some = import_collection(tmp_path / "in", tmp_path / "c").collection
    work = tmp_path / "v.parquet.unfinished"
    embed_to_file(model, some, tmp_path / "v.parquet")
    before = read_vectors(tmp_path / "v.parquet")[1]
    (tmp_path / "v.parquet").unlink()

    def interrupt(parts, output):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed_collection, "join_vectors", interrupt)
        with pytest.raises(KeyboardInterrupt):
            embed_to_file(model, some, tmp_path / "v.parquet")
    assert (work / "part-000000000.json").is_file()
    picture("in/1.png", seed=9)
    embed_to_file(model, some, tmp_path / "v.parquet")
    table, after = read_vectors(tmp_path / "v.parquet")
    image = dict(zip(some.specimens["id"], some.specimens["image"], strict=True))
    changed = [
        image[i] for i, a, b in zip(table["id"], before, after, strict=True) if (a != b).any()
    ]
    assert changed == ["1.png"]


def test_what_a_model_takes_is_one_rule(model, shells, shells_folder):
    """A collection, its folder, a folder of images, a file, files, pixels: the same vectors."""
    from PIL import Image

    one = shells.path(0)
    wanted = model.embed(shells).vectors[0]
    pixels = np.asarray(Image.open(one))
    for given in (shells, shells_folder, str(shells_folder), one, str(one), [one], [str(one)],
                  [pixels], [Image.open(one)]):  # fmt: skip
        assert np.allclose(model.embed(given).vectors[0], wanted, atol=1e-4), type(given)
    folder = model.embed(one.parent)
    assert len(folder) == 12
    assert (folder.taxa() == "").all(), "labels are read by an import"
    with pytest.raises(InputError, match="there are no images"):
        model.embed([])
    with pytest.raises(InputError, match="uint8"):
        model.embed([pixels.astype(float)])


def test_calibration_needs_labelled_specimens_that_are_no_references(model, shells):
    with pytest.raises(InputError, match="references of the model"):
        model.calibrate(shells)
    table = shells.specimens.assign(taxon=None)
    with pytest.raises(InputError, match="no labelled validation specimens"):
        model.calibrate(Collection(table, shells.images))


def test_skipped_images_are_kept_with_the_model(model, more_shells, tmp_path):
    more = Collection.open(more_shells)
    images = tmp_path / "images"
    shutil.copytree(more.images, images)
    first = str(more.specimens["image"].iloc[0])
    (images / first).write_bytes(b"broken")
    grown = model.add_references(Collection(more.specimens, images))
    assert grown.skipped["image"].tolist() == [first]
    grown.save(tmp_path / "m")
    again = Model.load(tmp_path / "m").skipped
    assert again.to_dict("records") == grown.skipped.to_dict("records")
