"""Collections from the formats of the field, with what is wrong with real ones."""

import json
import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from forametric.data.collection import Collection
from forametric.data.importers import import_collection
from forametric.data.importers.archive import unpack
from forametric.data.importers.endless_forams import facts
from forametric.data.taxonomy import Taxonomy
from forametric.errors import InputError
from forametric.simulation.plates import write_endless_forams


def rows_of(source, tmp_path, **settings):
    got = import_collection(source, tmp_path / "collection", **settings)
    return got, got.collection.specimens


# Endless Forams


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The whole library in little: 35 species, a handful of plates each."""
    folder = tmp_path_factory.mktemp("ef") / "library"
    write_endless_forams(folder, most=3, seed=1)
    return folder


@pytest.fixture(scope="module")
def imported_library(library, tmp_path_factory):
    """The report of importing it, and the collection's folder."""
    folder = tmp_path_factory.mktemp("ef") / "collection"
    return import_collection(library, folder), folder


def test_the_facts_are_those_of_the_library():
    table = facts()
    assert len(table) == 35
    assert table["portal_images"].sum() == 27729
    held_out = table[table["karaderi_open_set"]]
    assert held_out["number"].tolist() == [1, 5, 9, 14, 22, 23, 26, 29, 33, 34]


def test_a_downloaded_library_becomes_a_collection_with_the_papers_splits(imported_library):
    got, folder = imported_library
    table = got.table
    assert got.source == "endless-forams"
    assert table["taxon"].nunique() == 35
    assert len(got.skipped) == 0
    expected = pd.read_csv(folder / "expected.csv")
    assert (expected["difference"] == expected["found"] - expected["portal_images"]).all()
    unseen = set(table["taxon"][table["karaderi-open"] == "unseen"])
    assert unseen == set(facts().query("karaderi_open_set")["species"])
    known = table["karaderi-open"] != "unseen"
    assert (table["karaderi-open"] == table["karaderi-closed"])[known].all()
    assert set(table["open_3"]) == {"train", "val", "test", "unseen"}
    assert table.groupby("taxon")["open_3"].agg(set).map(lambda r: r == {"unseen"}).sum() == 10


def test_the_scale_is_read_from_the_plates(library, imported_library):
    table = imported_library[0].table
    truth = pd.read_csv(library / "truth.csv").set_index("image")["um_per_px"]
    share = table["um_per_px"].to_numpy() / truth[table["image"]].to_numpy()
    assert np.abs(share - 1).max() < 0.08
    assert np.abs(np.median(share) - 1) < 0.02


def test_missing_and_foreign_species_are_named(tmp_path, picture):
    for name in ("3 - globigerina_BULLOIDES", "Trilobatus sacculifer", "not a planktic foraminifer",
                 "Orbulina universa", "Candeina_nitida", "Beella digitata"):  # fmt: skip
        for seed in range(2):
            picture(f"ef/{name}/{seed}.png", hash(name) % 1000 + seed)
    got, table = rows_of(tmp_path / "ef", tmp_path)
    assert {"Globigerina bulloides", "Globigerinoides sacculifer"} <= set(table["taxon"].dropna())
    assert table["taxon"].isna().sum() == 2
    assert set(table["karaderi-open"][table["taxon"].isna()]) == {"distractor"}
    assert "30 of 35 species are missing" in got.notes[0]
    assert "not a planktic foraminifer" in got.notes[-1]


def test_packed_species_are_unpacked_into_the_collection(library, tmp_path):
    packed = tmp_path / "packed"
    packed.mkdir()
    for species in sorted(p for p in library.iterdir() if p.is_dir())[:6]:
        with zipfile.ZipFile(packed / f"{species.name.replace('_', ' ')}.zip", "w") as archive:
            for image in species.iterdir():
                archive.write(image, f"{species.name}/{image.name}")
    before = sorted(p.name for p in packed.rglob("*"))
    got, table = rows_of(packed, tmp_path)
    assert table["taxon"].nunique() == 6
    assert all(path.is_file() for path in Collection.open(tmp_path / "collection").paths())
    assert got.collection.images.is_relative_to(tmp_path / "collection")
    assert sorted(p.name for p in packed.rglob("*")) == before


# EcoTaxa


def ecotaxa(folder, picture, typed=True, encoding="utf-8"):
    """An export in little: deep in folders, an object of two images, one image absent."""
    lines = ["object_id\timg_file_name\timg_rank\tobject_annotation_category\t"
             "object_annotation_status\tsample_id\tprocess_particle_pixel_size_mm"]  # fmt: skip
    if typed:
        lines.append("[t]\t[t]\t[f]\t[t]\t[t]\t[t]\t[f]")
    lines += [
        "o1\to1.png\t0\tGlobigerina bulloides\tvalidated\tstation_é\t0.0106",
        "o1\to1b.png\t1\tGlobigerina bulloides\tvalidated\tstation_é\t0.0106",
        "o2\tsub/o2.png\t0\tCopepoda<Maxillopoda\tpredicted\tstation_é\t0.0106",
        "o3\tabsent.png\t0\tdetritus\tdubious\tstation_é\t0.0106",
    ]
    place = folder / "cruise" / "séance 1"
    for name in ("o1.png", "o1b.png", "sub/o2.png"):
        image = picture(f"{place.relative_to(folder.parent)}/{name}", len(name))
        assert image.is_file()
    (place / "ecotaxa_export.tsv").write_bytes("\n".join(lines).encode(encoding))
    return folder


@pytest.mark.parametrize(("typed", "encoding"), [(True, "utf-8"), (False, "cp1252")])
def test_an_ecotaxa_export_keeps_its_columns(tmp_path, picture, typed, encoding):
    got, table = rows_of(ecotaxa(tmp_path / "export", picture, typed, encoding), tmp_path)
    assert got.source == "ecotaxa"
    assert table["label"].tolist() == ["Globigerina bulloides"] * 2 + ["Copepoda<Maxillopoda"]
    assert table["taxon"].tolist() == ["Globigerina bulloides"] * 2 + ["Copepoda"]
    assert set(table["sample"]) == {"station_é"}
    assert table["group"].tolist()[:2] == ["o1", "o1"]
    assert pd.isna(table["group"].iloc[2])
    assert table["um_per_px"].tolist() == [10.6] * 3
    assert table["object_annotation_status"].tolist() == ["validated"] * 2 + ["predicted"]
    assert "does not exist" in got.skipped["reason"].iloc[0]
    assert bool(got.notes) == (encoding == "cp1252")


def test_an_ecotaxa_archive_is_unpacked(tmp_path, picture):
    folder = ecotaxa(tmp_path / "export", picture)
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(folder))
    got, table = rows_of(tmp_path / "export.zip", tmp_path)
    assert len(table) == 3
    assert got.collection.path(0).is_relative_to(tmp_path / "collection" / "images")


def test_what_was_unpacked_from_an_earlier_archive_is_not_mixed_in(tmp_path, picture, monkeypatch):
    """An import is interrupted, and the archive replaced before it is repeated."""

    def pack(name):
        folder = ecotaxa(tmp_path / name, picture)
        with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                inside = path.relative_to(folder)
                archive.write(
                    path, inside.with_name(inside.name.replace("ecotaxa", f"ecotaxa_{name}"))
                )

    def interrupt(*_):
        raise KeyboardInterrupt

    pack("old")
    with monkeypatch.context() as patch:
        patch.setattr("forametric.data.importers.importing._import", interrupt)
        with pytest.raises(KeyboardInterrupt):
            import_collection(tmp_path / "export.zip", tmp_path / "collection")
    pack("new")
    assert len(rows_of(tmp_path / "export.zip", tmp_path)[1]) == 3


# ParticleTrieur


PROJECT = """<?xml version="1.0" encoding="UTF-8"?>{declared}
<project version="2">
 <taxons>
  <taxon><code>bull</code><isClass>true</isClass><name>Globigerina bulloides</name></taxon>
 </taxons>
 <images>
  <image><classifications id="ann">
   <classification><code>bull</code><value>0.4</value></classification>
   <classification><code>other</code><value>0.1</value></classification></classifications>
   <tags><tag>auto</tag><tag>broken</tag></tags><val_by>rm</val_by>
   <source><filename>images/a.png</filename><sampleID>GC37</sampleID><index1>12.5</index1>
   <resolution>500</resolution><width>30</width></source></image>
  <image><classifications><classification><code>unlabeled</code><value>1</value></classification>
   </classifications><source><filename>D:\\work\\project\\images\\b.png</filename></source></image>
 </images>
</project>"""


def test_a_particle_trieur_project_gives_labels_scale_and_sample(tmp_path, picture):
    picture("pt/images/a.png", 1)
    picture("pt/images/b.png", 2)
    (tmp_path / "pt" / "project.xml").write_text(PROJECT.format(declared=""))
    got, table = rows_of(tmp_path / "pt" / "project.xml", tmp_path)
    assert got.source == "particle-trieur"
    assert table["image"].tolist() == ["images/a.png", "images/b.png"]
    assert table["taxon"].fillna("").tolist() == ["Globigerina bulloides", ""]
    first = table.iloc[0]
    assert (first["label"], first["sample"], first["um_per_px"]) == ("bull", "GC37", 2.0)
    assert (first["index1"], first["tags"], first["validated_by"]) == ("12.5", "auto;broken", "rm")


@pytest.mark.parametrize(
    "declared",
    [
        '<!DOCTYPE project [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>',
        '<!DOCTYPE project [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_a_project_with_entities_is_refused(tmp_path, declared):
    (tmp_path / "p.xml").write_text(PROJECT.format(declared=declared))
    with pytest.raises(InputError, match="refused for safety"):
        import_collection(tmp_path / "p.xml", tmp_path / "c")
    assert not (tmp_path / "c.unfinished").exists()


def test_a_particle_trieur_csv_is_known_by_its_header(tmp_path, picture):
    picture("pt/a.png", 1)
    (tmp_path / "pt" / "export.csv").write_text(
        "id,filename,label,sample,index1,index2,resolution,GUID,labeled_by,validated_by\n"
        "1,/home/someone/pt/a.png,bulloides,GC37,1.0,0.0,250.0,x,ann,\n"
    )
    _, table = rows_of(tmp_path / "pt" / "export.csv", tmp_path)
    assert table["um_per_px"].tolist() == [4.0]
    assert table["sample"].tolist() == ["GC37"]
    assert table["labeled_by"].tolist() == ["ann"]


# Tables


def test_an_excel_table_is_read_from_its_first_full_sheet(tmp_path, picture):
    picture("t/a.png", 1)
    with pd.ExcelWriter(tmp_path / "t" / "shells.xlsx") as book:
        pd.DataFrame().to_excel(book, sheet_name="empty", index=False)
        pd.DataFrame(
            {"image": ["a.png"], "species": ["Orbulina universa"], "depth": [12.5]}
        ).to_excel(book, sheet_name="shells", index=False)
    _, table = rows_of(tmp_path / "t" / "shells.xlsx", tmp_path)
    assert table["taxon"].tolist() == ["Orbulina universa"]
    assert table["depth"].tolist() == ["12.5"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_semicolons_decimal_commas_and_any_encoding(tmp_path, picture, encoding):
    picture("t/a.png", 1)
    text = "image;species;um_per_px;collector\na.png;Orbulina universa;1,25;Jérôme\n"
    (tmp_path / "t" / "t.csv").write_bytes(text.encode(encoding))
    got, table = rows_of(tmp_path / "t" / "t.csv", tmp_path)
    assert table["um_per_px"].tolist() == [1.25]
    assert table["collector"].tolist() == ["Jérôme"]
    assert bool(got.notes) == (encoding == "cp1252")


def test_lines_of_mixed_encodings_are_each_read_as_what_they_are(tmp_path, picture):
    picture("t/a.png", 1)
    picture("t/b.png", 2)
    head = b"image,species,collector\n"
    (tmp_path / "t" / "t.csv").write_bytes(
        head + "a.png,x,Jérôme\n".encode() + "b.png,x,Jérôme\n".encode("cp1252")
    )
    got, table = rows_of(tmp_path / "t" / "t.csv", tmp_path)
    assert table["collector"].tolist() == ["Jérôme"] * 2
    assert "1 lines are not UTF-8, the first is line 3" in got.notes[0]


def test_a_binary_file_is_no_table(tmp_path):
    (tmp_path / "t.csv").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="not a text table"):
        import_collection(tmp_path / "t.csv", tmp_path / "c")


def test_a_hundred_thousand_rows_are_read(tmp_path, picture):
    """All of them one picture, so that only the table is heavy."""
    from forametric.data.tables import read_table

    rows = pd.DataFrame({"image": "a.png", "species": "x", "n": np.arange(100_000)})
    rows.to_csv(tmp_path / "t.csv", index=False)
    assert len(read_table(tmp_path / "t.csv").rows) == 100_000


# Scales


def test_the_scale_of_ome_and_imagej_files_is_taken(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (2, 20, 20), np.uint8)
    (tmp_path / "t").mkdir()
    tifffile.imwrite(
        tmp_path / "t" / "a.ome.tif", noise[0],
        metadata={"axes": "YX", "PhysicalSizeX": 0.65, "PhysicalSizeXUnit": "µm"},
    )  # fmt: skip
    tifffile.imwrite(
        tmp_path / "t" / "b.tif", noise[1], imagej=True, resolution=(2.0, 2.0),
        metadata={"unit": "um"},
    )  # fmt: skip
    Image.fromarray(noise[0]).save(tmp_path / "t" / "c.png", dpi=(72, 72))
    _, table = rows_of(tmp_path / "t", tmp_path)
    assert table["um_per_px"].tolist()[:2] == pytest.approx([0.65, 0.5])
    assert np.isnan(table["um_per_px"].iloc[2])


# What may not happen


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "C:\\out.png"])
def test_a_zip_that_leaves_its_folder_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InputError, match="outside its folder"):
        unpack(tmp_path / "z.zip", tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(300 * 1024**2))
    with pytest.raises(InputError, match="possible bomb"):
        unpack(tmp_path / "z.zip", tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_damaged_zip_is_refused(tmp_path):
    (tmp_path / "z.zip").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(InputError, match="is damaged"):
        import_collection(tmp_path / "z.zip", tmp_path / "c")
    assert os.listdir(tmp_path) == ["z.zip"]


@pytest.mark.process
def test_a_killed_import_resumes_without_reading_twice(shells, tmp_path):
    """Killed after 30 of 48 images; the second run decodes only the rest."""
    script = (
        "import os, signal, forametric.data.importers.importing as i\n"
        "from pathlib import Path\n"
        "decode, seen = i.decoding, []\n"
        "def look(path):\n"
        "    seen.append(path)\n"
        "    if len(seen) > 30: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return decode(path)\n"
        "i.decoding = look\n"
        "os.cpu_count = lambda: 1\n"
        f"i.import_collection({str(shells.images)!r}, Path({str(tmp_path / 'out')!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    from forametric.data.importers import importing

    seen = []
    decoding = importing.decoding
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(importing, "decoding", lambda p: seen.append(p) or decoding(p))
        got = import_collection(shells.images, tmp_path / "out")
    assert len(got.collection) == 48
    assert 0 < len(seen) < 48
    assert got.collection.specimens["id"].tolist() == shells.specimens["id"].tolist()
    assert sorted(os.listdir(tmp_path)) == ["out"]
    assert "progress.jsonl" not in os.listdir(tmp_path / "out")


# Names


def test_every_species_has_a_genus_and_synonyms_lead_to_one_name():
    taxonomy = Taxonomy.load()
    for species in facts()["species"]:
        assert species in taxonomy
        assert taxonomy.above(species)["genus"] == species.split()[0]
    assert taxonomy.accepted("Menardella menardii") == "Globorotalia menardii"
    assert taxonomy.accepted("Neogloboquadrina pachyderma (dextral)") == "Neogloboquadrina incompta"
    assert taxonomy.accepted("Trochammina inflata") == "Trochammina inflata"
    assert taxonomy.above("Trochammina inflata") == {
        "genus": "Trochammina",
        "family": "",
        "order": "",
    }
    assert (taxonomy.table["aphia_id"] == "").all(), "AphiaIDs come from WoRMS only"


def test_the_direction_of_coiling_comes_from_the_table_or_the_name(tmp_path):
    taxonomy = Taxonomy.load()
    coiling = {name: taxonomy.coiling(name) for name in taxonomy.table["name"]}
    assert {name: way for name, way in coiling.items() if way} == {
        "Neogloboquadrina pachyderma": "sinistral",
        "Neogloboquadrina incompta": "dextral",
    }
    assert taxonomy.coiling("neogloboquadrina_pachyderma (dextral)") == "dextral"
    assert taxonomy.coiling("Globorotalia truncatulinoides sin.") == "sinistral"
    assert taxonomy.coiling("Globorotalia hirsuta [Dex]") == "dextral"
    assert taxonomy.coiling("Sinuosa dexia") == ""
    assert taxonomy.coiling("Globigerina dex 1893 ruber") == ""
    assert taxonomy.coiling("truncatulinoides_dex") == "dextral"
    (tmp_path / "t.csv").write_text(
        "name,genus,family,order,synonyms,aphia_id,coiling\nA b,A,,,,,dextral\nA c,A,,,,,\n"
    )
    own = Taxonomy.load(tmp_path / "t.csv")
    assert [own.coiling(name) for name in ("A b", "A c", "A d")] == ["dextral", "", ""]
    (tmp_path / "t.csv").write_text(
        "name,genus,family,order,synonyms,aphia_id,coiling\nA b,A,,,,,left\n"
    )
    with pytest.raises(InputError, match="coiling"):
        Taxonomy.load(tmp_path / "t.csv")


def test_a_synonym_of_two_names_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text(
        "name,genus,family,order,synonyms,aphia_id\nA b,A,,,X y,\nA c,A,,,X y,\n"
    )
    with pytest.raises(InputError, match="both A b and A c"):
        Taxonomy.load(tmp_path / "t.csv")


def test_aphia_ids_are_taken_from_worms_for_exact_matches_only(served):
    answers = [
        [
            {
                "AphiaID": 113434,
                "match_type": "exact",
                "family": "Globigerinidae",
                "order": "Rotaliida",
            }
        ]
        if "Globigerina bulloides" in name
        else [{"AphiaID": 1, "match_type": "near_1"}]
        for name in Taxonomy.load().table["name"]
    ]
    fresh = Taxonomy.load().refreshed(served(json.dumps(answers).encode()))
    assert fresh.aphia_id("Globigerina bulloides") == "113434"
    assert (fresh.table["aphia_id"] != "").sum() == 1
    with pytest.raises(InputError, match=r"unexpected response|could not reach WoRMS"):
        Taxonomy.load().refreshed(served(b"<html>"))


def test_the_library_is_fetched_where_the_site_answers(served, tmp_path):
    import io

    from forametric.data.importers.endless_forams import download_endless_forams

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.jpg", b"x")
    (tmp_path / "Beella digitata.zip").write_bytes(b"kept")
    done = download_endless_forams(str(tmp_path), served(archive.getvalue()))
    assert (len(done), done.skipped.empty, done.folder) == (35, True, tmp_path)
    assert len(list(tmp_path.glob("*.zip"))) == 35
    assert (tmp_path / "Beella digitata.zip").read_bytes() == b"kept"
    with pytest.raises(InputError, match="cannot be reached"):
        download_endless_forams(tmp_path / "other", served(b"<html>down for repair</html>"))
