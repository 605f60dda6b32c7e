"""Every kind of file that Forametric reads: valid ones made by code, and what reads them.

A `Case` is one input: the files of a valid seed, some of which have other bytes.
`experiments/fuzz.py` makes cases at random; those that broke a rule are kept in `tests/corpus`.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from forametric.utils.files import sha256
from tests.support.mutations import mutate
from tests.support.tiny import Tiny

Files = dict[str, bytes]
Command = list[str]


@dataclass(frozen=True)
class Seed:
    """The files of a valid input, by path, and which of them are damaged."""

    files: Files
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One input: a seed of a kind with some files replaced; None removes a file."""

    kind: str
    seed: str
    changed: dict[str, bytes | None] = field(default_factory=dict)

    def to_json(self, reason: str, how: str) -> str:
        """The case as text, with why it is kept and what broke the rule: `read` or a verb."""
        packed = {
            name: None if data is None else base64.b85encode(zlib.compress(data, 9)).decode()
            for name, data in self.changed.items()
        }
        known = {"kind": self.kind, "seed": self.seed, "reason": reason, "how": how}
        known |= {"changed": packed}
        return json.dumps(known, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> tuple[Case, str]:
        """Read what `to_json` wrote: the case, and what broke the rule."""
        known = json.loads(text)
        changed = {
            name: None if data is None else zlib.decompress(base64.b85decode(data))
            for name, data in known["changed"].items()
        }
        return cls(known["kind"], known["seed"], changed), known["how"]


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes
    ----------
    seeds : function
        Makes valid inputs by name.
    read : function
        Reads an input with the functions of the library: its folder, an empty folder for output.
    commands : function
        Command lines that read it, run in order.
    """

    seeds: Callable[[Tiny], dict[str, Seed]]
    read: Callable[[Path, Path, Tiny], object]
    commands: Callable[[Path, Path, Tiny], list[Command]] = lambda *_: []


def make_case(kind: str, tiny: Tiny, rng: Random) -> Case:
    """An input of a kind, damaged at random."""
    seeds = seeds_of(kind, tiny)
    name = rng.choice(sorted(seeds))
    seed = seeds[name]
    target = rng.choice(seed.targets)
    suffix = "." + target.rsplit(".", 1)[-1]
    others = tuple(
        other.files[one]
        for other in seeds.values()
        for one in other.targets
        if one.endswith(suffix)
    )
    return Case(kind, name, {target: mutate(seed.files[target], suffix, rng, others)})


def write_case(case: Case, folder: Path, tiny: Tiny) -> None:
    """Write the files of a case below an empty folder."""
    files: dict[str, bytes | None] = dict(seeds_of(case.kind, tiny)[case.seed].files)
    for name, data in (files | case.changed).items():
        if data is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    if case.kind == "models":
        _rehash(folder / "model")


def _rehash(model: Path) -> None:
    """State the hashes of the files as they are, so that damage is found by what reads them."""
    try:
        card = json.loads((model / "model.json").read_bytes())
        files = card["files"]
        known = [name for name in files if (model / name).is_file()]
        card["files"] = files | {name: sha256(model / name) for name in known}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    (model / "model.json").write_text(json.dumps(card))


@cache
def seeds_of(kind: str, tiny: Tiny) -> dict[str, Seed]:
    """The valid inputs of a kind."""
    return KINDS[kind].seeds(tiny)


# Images


def _noise(shape: tuple[int, ...], dtype: Any = np.uint8, top: float = 255) -> np.ndarray:
    return (np.random.default_rng(0).random(shape) * top).astype(dtype)


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def _tiff(pixels: np.ndarray, **options: Any) -> bytes:
    import tifffile

    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


def image_files() -> Files:
    """A small image of every format, bit depth and kind of color."""
    rgb = Image.fromarray(_noise((24, 30, 3)))
    deep = _noise((24, 30), np.uint16, 4095)
    files = {f"png-{mode}.png": _saved(rgb.convert(mode), "PNG") for mode in ("1", "L", "P", "RGB")}
    files |= {
        f"png-{mode}.png": _saved(Image.fromarray(_noise((24, 30, bands)), mode), "PNG")
        for mode, bands in (("LA", 2), ("RGBA", 4))
    }
    files["png-grey16.png"] = _saved(Image.fromarray(deep), "PNG")
    for mode in ("L", "RGB", "CMYK"):
        files[f"jpg-{mode}.jpg"] = _saved(rgb.convert(mode), "JPEG")
    files["jpg-progressive.jpg"] = _saved(rgb, "JPEG", progressive=True)
    exif = Image.Exif()
    exif[274] = 6
    files["jpg-exif.jpg"] = _saved(rgb, "JPEG", exif=exif)
    files |= {f"bmp-{m}.bmp": _saved(rgb.convert(m), "BMP") for m in ("1", "L", "P", "RGB")}
    files["webp.webp"] = _saved(rgb, "WEBP")
    files["webp-lossless.webp"] = _saved(rgb.convert("RGBA"), "WEBP", lossless=True)
    for dtype, top in (
        ("uint8", 255), ("uint16", 65535), ("uint32", 4e5), ("int8", 100), ("int16", 3000),
        ("int32", 9e4), ("float16", 1), ("float32", 1), ("float64", 1),
    ):  # fmt: skip
        files[f"tif-{dtype}.tif"] = _tiff(_noise((24, 30), dtype, top))
    files["tif-rgb16.tif"] = _tiff(_noise((24, 30, 3), np.uint16, 65535), photometric="rgb")
    files["tif-planar.tif"] = _tiff(_noise((3, 24, 30)), photometric="rgb", planarconfig="separate")
    files["tif-stack.tif"] = _tiff(_noise((4, 24, 30)), photometric="minisblack")
    files["tif-ome.tif"] = _tiff(
        _noise((2, 3, 24, 30)), ome=True, photometric="minisblack",
        metadata={"axes": "CZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"},
    )  # fmt: skip
    files["tif-imagej.tif"] = _tiff(
        deep[None], imagej=True, resolution=(2, 2), metadata={"unit": "um"}
    )
    files["tif-tiled.tif"] = _tiff(_noise((64, 64)), tile=(16, 16), compression="zlib")
    files["tif-big.tif"] = _tiff(_noise((24, 30)), bigtiff=True)
    files["tif-bigendian.tif"] = _tiff(_noise((24, 30), np.uint16, 999), byteorder=">")
    files |= {
        f"tif-pillow-{name}.tif": _saved(rgb.convert(mode), "TIFF", compression=how)
        for name, mode, how in (
            ("lzw", "RGB", "tiff_lzw"), ("packbits", "P", "packbits"), ("fax", "1", "group4"),
            ("jpeg", "RGB", "jpeg"), ("cmyk", "CMYK", "tiff_adobe_deflate"),
            ("alpha", "RGBA", None),
        )
    }  # fmt: skip
    return files


def _images(_: Tiny) -> dict[str, Seed]:
    found = {}
    for name, data in image_files().items():
        path = f"plates/x.{name.rsplit('.', 1)[-1]}"
        found[name] = Seed({path: data}, (path,))
    return found


def _read_image(folder: Path, _out: Path, _tiny: Tiny) -> None:
    from forametric.images import decode, load_image
    from forametric.images.pixel_size import um_per_px_of
    from forametric.images.plate import read_plate

    (path,) = (folder / "plates").iterdir()
    um_per_px_of(path)
    read_plate(decode(path))
    load_image(path, 32)


def _image_commands(folder: Path, out: Path, tiny: Tiny) -> list[Command]:
    plates, model = str(folder / "plates"), str(tiny.model)
    return [
        ["import", plates, "-o", f"{out}/c"],
        ["identify", model, plates, "-o", f"{out}/n.csv"],
        ["segment", plates, "-o", f"{out}/s"],
        ["check", plates, "-o", f"{out}/check"],
        ["embed", model, plates, "-o", f"{out}/e.parquet"],
    ]


# Tables

PICTURES = {f"{n}.png": _saved(Image.fromarray(_noise((16, 16 + n, 3))), "PNG") for n in range(4)}
ROWS = [
    ("image", "label", "sample", "um_per_px", "depth_cm", "group"),
    ("0.png", "Globigerina bulloides", "GC37 10 cm", "2.4", "10", "a"),
    ("1.png", "Orbulina universa", "GC37 10 cm", "2.4", "10", "a"),
    ("2.png", "Orbulina universa", "GC37 20 cm", "2.4", "20.5", ""),
    ("3.png", "", "GC37 20 cm", "", "20.5", ""),
]
ECOTAXA = [
    ("img_file_name", "object_id", "object_annotation_category", "sample_id", "process_pixel"),
    ("[t]", "[t]", "[t]", "[t]", "[f]"),
    ("0.png", "o1", "Globigerina bulloides", "tow 1", "0.0024"),
    ("1.png", "o1", "Globigerina bulloides", "tow 1", "0.0024"),
    ("2.png", "o2", "Orbulina<Spumellaria", "tow 2", "0,0024"),
]
TRIEUR = [
    ("filename", "label", "sample", "index1", "index2", "resolution", "GUID"),
    ("0.png", "bulloides", "s", "1", "2", "400", "g0"),
    ("1.png", "unsure", "s", "1", "2", "400", "g1"),
]


def _text(rows: list[tuple[str, ...]], delimiter: str = ",") -> bytes:
    return "".join(delimiter.join(row) + "\n" for row in rows).encode()


def _tables(_: Tiny) -> dict[str, Seed]:
    texts = {
        "comma": _text(ROWS),
        "semicolon": _text(ROWS, ";"),
        "tab": _text(ROWS, "\t"),
        "trieur": _text(TRIEUR),
        "utf-16": _text(ROWS).decode().encode("utf-16"),
        "cp1252": _text([*ROWS[:2], ("1.png", "é", "", "", "", "")]).decode().encode("cp1252"),
    }
    return {name: Seed(PICTURES | {"t.csv": data}, ("t.csv",)) for name, data in texts.items()}


def _import(name: str) -> Callable[[Path, Path, Tiny], object]:
    def read(folder: Path, out: Path, _: Tiny) -> object:
        from forametric.data.importers import import_collection

        return import_collection(folder / name, out / "read")

    return read


def _use(source: str, out: Path) -> list[Command]:
    """Import a source, and use the collection where there is one."""
    return [
        ["import", source, "-o", f"{out}/c"],
        ["check", f"{out}/c", "-o", f"{out}/check"],
        ["split", f"{out}/c", "-o", f"{out}/split.csv"],
        ["export", f"{out}/c", "-o", f"{out}/x.xlsx", "--format", "excel"],
        ["export", f"{out}/c", "-o", f"{out}/d.zip", "--format", "darwin-core"],
    ]


def _import_commands(name: str) -> Callable[[Path, Path, Tiny], list[Command]]:
    return lambda folder, out, _: _use(str(folder / name), out)


def _workbook(rows: list[tuple[str, ...]]) -> bytes:
    out = io.BytesIO()
    pd.DataFrame(rows[1:], columns=list(rows[0])).to_excel(out, index=False)
    return out.getvalue()


def _excel(tiny: Tiny) -> dict[str, Seed]:
    names = pd.read_csv(tiny.names, dtype=str)[["id", "image", "taxon"]].head(5)
    decided = [tuple(row) for row in names.assign(expert="x").itertuples(index=False)]
    books = {"specimens": _workbook(ROWS), "decisions": _workbook([(*names, "expert"), *decided])}
    return {name: Seed(PICTURES | {"t.xlsx": book}, ("t.xlsx",)) for name, book in books.items()}


def _read_excel(folder: Path, out: Path, tiny: Tiny) -> None:
    import forametric as fm
    from forametric.errors import ForametricError

    try:
        fm.import_collection(folder / "t.xlsx", out / "read")
    except ForametricError:
        fm.read_decisions(folder / "t.xlsx", fm.Collection.open(tiny.collection), "K. Lee")


def _excel_commands(folder: Path, out: Path, tiny: Tiny) -> list[Command]:
    table, store = str(folder / "t.xlsx"), f"{out}/d.sqlite"
    record = ["record", str(tiny.collection), table, "--store", store, "--reviewer", "K. Lee"]
    return [record, *_use(table, out)]


def _zipped(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _archives(_: Tiny) -> dict[str, Seed]:
    table = {"ecotaxa_x.tsv": _text(ECOTAXA, "\t")}
    flat = _zipped(PICTURES | table)
    below = _zipped({f"export/tow 1/{name}": data for name, data in (PICTURES | table).items()})
    return {"flat": Seed({"e.zip": flat}, ("e.zip",)), "below": Seed({"e.zip": below}, ("e.zip",))}


SPECIES = (
    "Globigerina bulloides",
    "Orbulina universa",
    "Globigerinella siphonifera",
    "Globigerinoides ruber",
    "Neogloboquadrina dutertrei",
    "Turborotalita quinqueloba",
)


def _libraries(_: Tiny) -> dict[str, Seed]:
    """The Endless Forams library: a ZIP for each species."""
    files = {f"lib/{name}.zip": _zipped({f"{name}/0.png": PICTURES["0.png"]}) for name in SPECIES}
    return {"zips": Seed(files, tuple(files))}


XML = """<?xml version="1.0" encoding="UTF-8"?>
<project>
  <taxons><taxon><code>bulloides</code><name>Globigerina bulloides</name></taxon></taxons>
  <images>
    <image><source><filename>0.png</filename><sampleID>s1</sampleID><index1>10</index1>
      <resolution>400</resolution><GUID>g0</GUID></source>
      <classifications><classification><code>bulloides</code><value>0.9</value></classification>
      <classification><code>ruber</code><value>0.1</value></classification></classifications>
      <tags><tag>broken</tag></tags><val_by>K. Lee</val_by></image>
    <image><source><filename>C:\\core\\1.png</filename><coreID>c</coreID></source>
      <classifications></classifications></image>
  </images>
</project>
"""


def _xml(_: Tiny) -> dict[str, Seed]:
    plain = Seed(PICTURES | {"p.xml": XML.encode()}, ("p.xml",))
    utf16 = XML.replace("UTF-8", "UTF-16").encode("utf-16")
    return {"project": plain, "utf-16": Seed(PICTURES | {"p.xml": utf16}, ("p.xml",))}


def _ecotaxa(_: Tiny) -> dict[str, Seed]:
    export = {f"e/{n}": data for n, data in PICTURES.items()}
    table = _text(ECOTAXA, "\t")
    return {"folder": Seed({**export, "e/ecotaxa_x.tsv": table}, ("e/ecotaxa_x.tsv",))}


# Settings


def _splits(tiny: Tiny) -> dict[str, Seed]:
    return {"split": Seed({"split.csv": tiny.split.read_bytes()}, ("split.csv",))}


def _read_split(folder: Path, _out: Path, tiny: Tiny) -> object:
    import forametric as fm

    split = fm.Split.load(fm.Collection.open(tiny.collection), folder / "split.csv")
    return split.hash, len(split.train)


def _split_commands(folder: Path, out: Path, tiny: Tiny) -> list[Command]:
    split = ["--split", str(folder / "split.csv")]
    return [
        ["calibrate", str(tiny.model), str(tiny.collection), *split, "-o", f"{out}/m"],
        ["evaluate", str(tiny.model), str(tiny.collection), *split, "-o", f"{out}/r"],
    ]


def _recipes(_: Tiny) -> dict[str, Seed]:
    from importlib.resources import files

    folder = files("forametric.embedding") / "recipes"
    texts = {f.name: f.read_bytes() for f in folder.iterdir() if f.name.endswith(".toml")}
    return {name: Seed({"r.toml": text}, ("r.toml",)) for name, text in texts.items()}


def _read_recipe(folder: Path, _out: Path, _tiny: Tiny) -> object:
    import forametric as fm

    return fm.Recipe.load(folder / "r.toml")


def _recipe_commands(folder: Path, out: Path, tiny: Tiny) -> list[Command]:
    """A split that does not exist ends the command before the training."""
    recipe = ["--recipe", str(folder / "r.toml"), "--split", "nowhere.csv"]
    return [["train", str(tiny.collection), *recipe, "-o", f"{out}/m"]]


def _taxonomies(_: Tiny) -> dict[str, Seed]:
    from importlib.resources import files

    table = (files("forametric.data") / "facts" / "planktic_foraminifera.csv").read_bytes()
    short = b"".join(table.splitlines(keepends=True)[:12])
    return {"names": Seed({"names.csv": short}, ("names.csv",))}


def _read_taxonomy(folder: Path, _out: Path, _tiny: Tiny) -> object:
    import forametric as fm

    names = fm.Taxonomy.load(folder / "names.csv")
    return names.accepted("Orbulina universa"), names.above("Orbulina universa")


def _taxonomy_commands(folder: Path, out: Path, tiny: Tiny) -> list[Command]:
    names = ["--taxonomy", str(folder / "names.csv")]
    return [
        ["export", str(tiny.collection), *names, "-o", f"{out}/d.zip", "--format", "darwin-core"],
        [
            "identify",
            str(tiny.model),
            str(tiny.images / "single_sphere"),
            *names,
            "-o",
            f"{out}/n.csv",
        ],
    ]


def _names(tiny: Tiny) -> dict[str, Seed]:
    """The table of `identify`, with a column that an expert has filled in."""
    table = pd.read_csv(tiny.names, dtype=str).head(6).assign(expert="Orbulina universa")
    plain = table.to_csv(index=False).encode()
    return {"names": Seed({"names.csv": plain}, ("names.csv",))}


def _read_names(folder: Path, _out: Path, tiny: Tiny) -> object:
    import forametric as fm

    return fm.read_decisions(folder / "names.csv", fm.Collection.open(tiny.collection), "K. Lee")


def _names_commands(folder: Path, out: Path, tiny: Tiny) -> list[Command]:
    table, collection, store = str(folder / "names.csv"), str(tiny.collection), f"{out}/d.sqlite"
    names = ["--identifications", table]
    return [
        ["record", collection, table, "--store", store, "--reviewer", "K. Lee"],
        ["decisions", "--store", store, "-o", f"{out}/h.csv"],
        ["export", collection, *names, "-o", f"{out}/x.csv"],
        ["export", collection, *names, "-o", f"{out}/x.xlsx", "--format", "excel"],
        ["export", collection, *names, "-o", f"{out}/p.csv", "--format", "particle-trieur"],
        ["export", collection, *names, "-o", f"{out}/d.zip", "--format", "darwin-core"],
    ]


# Folders and files that Forametric itself writes


def _files_below(folder: Path, name: str) -> Files:
    return {f"{name}/{p.name}": p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def _models(tiny: Tiny) -> dict[str, Seed]:
    files = _files_below(tiny.model, "model")
    often = ("model/model.json", "model/calibration.json", "model/references.parquet")
    return {"model": Seed(files, (*often, *often, "model/model.onnx", "model/weights.safetensors"))}


def _few(tiny: Tiny) -> str:
    return str(tiny.images / "single_sphere")


def _read_model(folder: Path, _out: Path, tiny: Tiny) -> object:
    import forametric as fm

    model = fm.Model.load(folder / "model")
    return model.identify(_few(tiny)).table, model.title, str(model), model.summary


def _model_commands(folder: Path, out: Path, tiny: Tiny) -> list[Command]:
    model = str(folder / "model")
    return [
        ["info", model],
        ["identify", model, _few(tiny), "-o", f"{out}/n.csv"],
        ["add", model, str(tiny.more), "-o", f"{out}/m"],
        ["assemblage", model, str(tiny.more), "-o", f"{out}/a"],
    ]


def _collections(tiny: Tiny) -> dict[str, Seed]:
    """The collection with its images inside."""
    table = pd.read_parquet(tiny.more / "specimens.parquet").iloc[::4].reset_index(drop=True)
    folder = tiny.folder / "more-images"
    files = {f"c/images/{name}": (folder / name).read_bytes() for name in table["image"]}
    out = io.BytesIO()
    table.to_parquet(out, index=False)
    card = json.loads((tiny.more / "collection.json").read_text()) | {"images": "images"}
    files |= {"c/specimens.parquet": out.getvalue(), "c/collection.json": json.dumps(card).encode()}
    return {"c": Seed(files, ("c/specimens.parquet", "c/specimens.parquet", "c/collection.json"))}


def _read_collection(folder: Path, _out: Path, _tiny: Tiny) -> object:
    import forametric as fm

    collection = fm.Collection.open(folder / "c")
    return collection.paths(), collection.fingerprint, collection.summary, str(collection)


def _collection_commands(folder: Path, out: Path, tiny: Tiny) -> list[Command]:
    c, model = str(folder / "c"), str(tiny.model)
    return [
        ["info", c],
        ["check", c, "-o", f"{out}/check", "--fix", f"{out}/fixed"],
        ["split", c, "-o", f"{out}/s.csv"],
        ["export", c, "-o", f"{out}/x.xlsx", "--format", "excel"],
        ["export", c, "-o", f"{out}/e.zip", "--format", "ecotaxa"],
        ["identify", model, c, "-o", f"{out}/n.csv"],
        ["embed", model, c, "-o", f"{out}/e.parquet"],
        ["assemblage", model, c, "-o", f"{out}/a", "--depth", "depth"],
        ["apply-decisions", c, "-o", f"{out}/l", "--store", str(tiny.store)],
        ["queue", model, c, "-o", f"{out}/q"],
        ["add", model, c, "-o", f"{out}/m"],
    ]


def _embeddings(tiny: Tiny) -> dict[str, Seed]:
    return {"e": Seed({"e.parquet": tiny.embeddings.read_bytes()}, ("e.parquet",))}


def _read_embeddings(folder: Path, _out: Path, _tiny: Tiny) -> object:
    import forametric as fm

    found = fm.Embeddings.load(folder / "e.parquet")
    return found.taxa(), found.projection, repr(found)


def _embeddings_commands(folder: Path, out: Path, tiny: Tiny) -> list[Command]:
    e, model, collection = str(folder / "e.parquet"), str(tiny.model), str(tiny.collection)
    return [
        ["identify", model, _few(tiny), "-o", f"{out}/n.csv", "--neighbors", e],
        ["map", model, collection, "-o", f"{out}/m.html", "--embeddings", e],
        ["map", model, collection, "-o", f"{out}/p.html", "--onto", e],
    ]


def _stores(tiny: Tiny) -> dict[str, Seed]:
    return {"d": Seed({"d.sqlite": tiny.store.read_bytes()}, ("d.sqlite",))}


def _read_store(folder: Path, out: Path, _tiny: Tiny) -> None:
    import forametric as fm

    store = fm.DecisionStore.open(folder / "d.sqlite")
    try:
        store.summary()
        store.write_csv(out / "read.csv")
        fm.consensus(store.history())
    finally:
        store.close()


def _store_commands(folder: Path, out: Path, tiny: Tiny) -> list[Command]:
    store = ["--store", str(folder / "d.sqlite")]
    return [
        ["decisions", *store, "-o", f"{out}/h.csv"],
        ["apply-decisions", str(tiny.collection), *store, "-o", f"{out}/l"],
    ]


def _projects(tiny: Tiny) -> dict[str, Seed]:
    import forametric as fm
    from forametric.review.project import Project

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "p"
        Project.create(folder, fm.Collection.open(tiny.more).path(0).parents[1].parent / "more",
                       tiny.model, depth="depth")  # fmt: skip
        card = json.loads((folder / "project.json").read_text())
    card |= {"collection": str(tiny.more), "models": [str(tiny.model)]}
    return {"p": Seed({"p/project.json": json.dumps(card).encode()}, ("p/project.json",))}


def _read_project(folder: Path, _out: Path, _tiny: Tiny) -> object:
    from forametric.review.project import Project

    return Project.open(folder / "p").model


# Command lines

OPTIONS = (
    ["split", "{collection}", "-o", "{out}/s.csv"],
    ["identify", "{model}", "{few}", "-o", "{out}/n.csv"],
    ["map", "{model}", "{collection}", "-o", "{out}/m.html"],
    ["discover", "{model}", "{collection}", "-o", "{out}/g", "--all"],
    ["assemblage", "{model}", "{more}", "-o", "{out}/a"],
    ["segment", "{few}", "-o", "{out}/s"],
    ["import", "{images}", "-o", "{out}/c"],
    ["simulate", "--total", "4", "--size", "32", "-o", "{out}/sim"],
    ["export", "{collection}", "-o", "{out}/x.csv"],
    ["record", "{collection}", "{names}", "--store", "{out}/d.sqlite", "--reviewer", "K"],
)
VALUES = {
    "split": ["--seed", "--held-out-taxa", "--test", "--val"],
    "identify": ["--min-probability", "--conformal-alpha", "--where", "--taxonomy", "--neighbors"],
    "map": ["--seed", "--onto", "--embeddings"],
    "discover": ["--n-groups"],
    "assemblage": ["--by", "--depth"],
    "segment": ["--um-per-px", "--min-diameter"],
    "import": ["--bar-um", "--source"],
    "simulate": ["--seed"],
    "export": ["--format", "--identifications", "--model", "--taxonomy"],
    "record": ["--reviewer"],
}


def _options(_: Tiny) -> dict[str, Seed]:
    """Each verb with each of its options, whose value is then replaced."""
    found = {}
    for command in OPTIONS:
        for option in VALUES[command[0]]:
            line = {"command": command, "option": option, "values": ["0"]}
            name = f"{command[0]}{option}"
            found[name] = Seed({"line.json": json.dumps(line).encode()}, ("line.json",))
    return found


def _option_commands(folder: Path, out: Path, tiny: Tiny) -> list[Command]:
    """The command line; damage to anything else than the value is undone."""
    try:
        line = json.loads((folder / "line.json").read_bytes())
        values, option = list(line["values"]), str(line["option"])
        command = next(c for c in OPTIONS if c == line["command"] and option in VALUES[c[0]])
    except (ValueError, KeyError, TypeError, StopIteration, RecursionError):
        return []
    names = {"collection": tiny.collection, "model": tiny.model, "few": _few(tiny), "out": out,
             "more": tiny.more, "images": tiny.images, "names": tiny.names}  # fmt: skip
    words = [
        v if isinstance(v, str) else json.dumps(v)
        for v in values
        if "\x00" not in str(v) and "\ud800" not in str(v)  # no program can be given these
    ]
    given = [word for value in words for word in (option, value)]
    return [[*(word.format(**names) for word in command), *given]]


# Requests


def _requests(_: Tiny) -> dict[str, Seed]:
    """One request of each route, from its description."""
    from forametric.server.app import make_interface

    found = {}
    for path, methods in make_interface().openapi()["paths"].items():
        for method, about in methods.items():
            if (method, path) in LONG_WORK:
                continue
            query = {p["name"]: "1" for p in about.get("parameters", []) if p["in"] == "query"}
            filled = re.sub(r"\{\w*(number|name|kind|sample)\w*\}", "0", path)
            request = {
                "method": method.upper(), "path": re.sub(r"\{\w+\}", "598c2ea21c81e6e6", filled),
                "query": query, "headers": {"Origin": "http://127.0.0.1:8765"}, "body": None,
            }  # fmt: skip
            if method == "post":
                request["body"] = BODY
            name = f"{method} {path}"
            found[name] = Seed({"request.json": json.dumps(request).encode()}, ("request.json",))
    return found


LONG_WORK = (("post", "/api/models"), ("post", "/api/models/current"))
BODY = {
    "reviewer": "A", "specimens": ["598c2ea21c81e6e6"], "source": 0, "target": 1, "name": "x",
    "numbers": [0, 1], "number": 0,
    "decisions": [{"specimen": "598c2ea21c81e6e6", "verdict": "taxon", "taxon": "Orbulina"}],
}  # fmt: skip


def _send(folder: Path, _out: Path, tiny: Tiny) -> None:
    from tests.support.requests import send_json

    send_json((folder / "request.json").read_bytes(), tiny)


RAW = {
    "get": b"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    b"Authorization: Bearer {token}\r\nConnection: close\r\n\r\n",
    "post": b"POST /api/decisions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    b"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    b"Content-Length: 34\r\nConnection: close\r\n\r\n"
    b'{"reviewer": "A", "decisions": []}',
    "login": b"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 11\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\ntoken=wrong",
    "cookie": b"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nCookie: forametric-8765=x; a=b\r\n"
    b"Origin: http://localhost:{port}\r\nSec-Fetch-Site: same-origin\r\nConnection: close\r\n\r\n",
}


def _raw(_: Tiny) -> dict[str, Seed]:
    return {name: Seed({"head.http": data}, ("head.http",)) for name, data in RAW.items()}


def _send_raw(folder: Path, _out: Path, tiny: Tiny) -> None:
    from tests.support.requests import send_raw

    send_raw((folder / "head.http").read_bytes(), tiny)


KINDS = {
    "images": Kind(_images, _read_image, _image_commands),
    "tables": Kind(_tables, _import("t.csv"), _import_commands("t.csv")),
    "excel": Kind(_excel, _read_excel, _excel_commands),
    "archives": Kind(_archives, _import("e.zip"), _import_commands("e.zip")),
    "libraries": Kind(_libraries, _import("lib"), _import_commands("lib")),
    "xml": Kind(_xml, _import("p.xml"), _import_commands("p.xml")),
    "ecotaxa": Kind(_ecotaxa, _import("e"), _import_commands("e")),
    "splits": Kind(_splits, _read_split, _split_commands),
    "recipes": Kind(_recipes, _read_recipe, _recipe_commands),
    "taxonomies": Kind(_taxonomies, _read_taxonomy, _taxonomy_commands),
    "names": Kind(_names, _read_names, _names_commands),
    "models": Kind(_models, _read_model, _model_commands),
    "collections": Kind(_collections, _read_collection, _collection_commands),
    "embeddings": Kind(_embeddings, _read_embeddings, _embeddings_commands),
    "stores": Kind(_stores, _read_store, _store_commands),
    "projects": Kind(_projects, _read_project),
    "options": Kind(_options, lambda *_: None, _option_commands),
    "http": Kind(_requests, _send),
    "raw": Kind(_raw, _send_raw),
}


def clear(folder: Path) -> None:
    """Make an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
