"""Damage valid files: byte by byte, and field by field where the format is known.

`mutate` takes the bytes of a valid file and a generator of random numbers, and returns other bytes.
The same generator gives the same bytes, so that a seed names an input. Checksums that would only
hide the damage from the reader (PNG chunks, ZIP entries) are made right again.
"""

from __future__ import annotations

import csv
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

# Values that programs often do not expect in a text field.
NASTY_TEXTS = (
    "", " ", "0", "-1", "1e400", "-1e400", "NaN", "nan", "inf", "-0", "NA", "null", "None", "#N/A",
    "true", "0,9", "1.234,5", "90 %", "%s%n", "%", "$", "$x^{$", "$a$ and $b$", "[/]", "[red]x[/]",
    "[t]", "[f]", "[link=x]", "{0}", "{", "'", '"', '""', "`", "\\", "\\\\", "a\\b.png", "/",
    "/etc/passwd", "../../x.png", "..", ".", "C:\\x.png", "con", "a:b", "a|b", "a;b,c\td", "\x00",
    "\x07", "\x1b[31m", "\x1b]0;t\x07", "\r\n", "\n", "\t", "\u2028", "\ufeff", "\u202e", "\ud7ff",
    "é", "H\u2032", "日本語", "😀", "A" * 300, "9" * 400, "=1+1", "+1", "-1+1", "@x", "<b>", "]]>",
    "&amp;", "&x;", "<script>alert(1)</script>", "'; DROP TABLE decisions; --", "skip", "undo",
    "unknown", "train", "test", "2026-13-45", "0x10", "1_000", "٣", "007", "7.77711E+14",
)  # fmt: skip
NASTY_JSON: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 10**6, 2**31, 2**63, 10**30, 1e308, -1e308, float("nan"),
    float("inf"), 0.5, -0.0, "", "x", "/", "..", [], [[]], {}, {"a": {}}, [None], ["", ""], [0],
    [[0, 1], [2]], {"": ""}, "A" * 1000, "\x00", "\ud800", "\x1b[31m", "$", "[/]",
)  # fmt: skip
NASTY_INTEGERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1,
                  2**31, 2**32 - 1)  # fmt: skip
NASTY_NAMES = ("../x.png", "/tmp/x.png", "a:b.png", "a\\b.png", "", ".", "a/../b.png", "con.png",
               "x" * 300 + ".png", "\x00.png", "é.png", "a//b.png", "a.png/", "ecotaxa_x.tsv",
               "[red].png", "\x1b[31m.png")  # fmt: skip
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "cp1252", "utf-8-sig", "utf-7", "shift_jis", "cp037")


def mutate(data: bytes, suffix: str, rng: Random, others: tuple[bytes, ...] = ()) -> bytes:
    """Damage a file in one to three ways.

    Parameters
    ----------
    suffix : str
        Names the format: `.png`, `.csv`, …; an unknown one is damaged byte by byte.
    others : tuple of bytes
        Other files of the kind, parts of which may be spliced in.
    """
    structured = STRUCTURED.get(suffix, ())
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if others and rng.random() < 0.05:
            data = splice(data, rng.choice(others), rng)
        elif structured and rng.random() < 0.7:
            data = rng.choice(structured)(data, rng)
        else:
            data = rng.choice(BYTEWISE)(data, rng)
    return data


# Bytes


def _flip(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16, 64))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, rng: Random) -> bytes:
    value, width = rng.choice(NASTY_INTEGERS), rng.choice((1, 2, 4, 8))
    order = rng.choice(("little", "big"))
    number = (value % 256**width).to_bytes(width, order)  # type: ignore[arg-type]
    place = _place(data, rng)
    return data[:place] + number + data[place + width :]


def _truncate(data: bytes, rng: Random) -> bytes:
    return data[: _place(data, rng)]


def _delete(data: bytes, rng: Random) -> bytes:
    start, length = _place(data, rng), rng.choice((1, 2, 8, 64, 1024))
    return data[:start] + data[start + length :]


def _repeat(data: bytes, rng: Random) -> bytes:
    start, length = _place(data, rng), rng.choice((1, 8, 64, 1024))
    return (
        data[: start + length]
        + data[start : start + length] * rng.choice((1, 2, 50))
        + data[start + length :]
    )


def _insert(data: bytes, rng: Random) -> bytes:
    text = rng.choice(NASTY_TEXTS).encode("utf-8", "surrogatepass")
    place = _place(data, rng)
    return (
        data[:place] + rng.choice((text, bytes(16), b"\xff" * 16, rng.randbytes(8))) + data[place:]
    )


def _place(data: bytes, rng: Random) -> int:
    """A position, in half of the cases among the first bytes, where most formats have fields."""
    return rng.randrange(min(len(data), 256) if rng.random() < 0.5 else len(data)) if data else 0


def splice(data: bytes, other: bytes, rng: Random) -> bytes:
    """The start of one file with the end of another."""
    return data[: _place(data, rng)] + other[_place(other, rng) :]


BYTEWISE: tuple[Mutation, ...] = (_flip, _overwrite, _truncate, _delete, _repeat, _insert)


# Images


def _png_chunk(data: bytes, rng: Random) -> bytes:
    """Change, drop or repeat a chunk of a PNG; every checksum is right."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return data
    number = rng.randrange(len(chunks))
    name, body = chunks[number]
    way = rng.randrange(4)
    if way == 0:
        chunks[number] = (name, rng.choice(BYTEWISE)(body, rng))
    elif way == 1:
        del chunks[number]
    elif way == 2:
        chunks.insert(rng.randrange(len(chunks)), (name, body))
    else:
        header = bytearray(chunks[0][1].ljust(13, b"\0"))
        header[8:13] = bytes(rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))
        chunks[0] = (chunks[0][0], bytes(header))
    return data[:8] + b"".join(
        struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks
    )


def _tiff_field(data: bytes, rng: Random) -> bytes:
    """Change a tag, type, count or value in the first directory of a TIFF."""
    if len(data) < 8 or data[:2] not in (b"II", b"MM"):
        return _flip(data, rng)
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack(order + "I", data[4:8])
    if start + 2 > len(data):
        return _flip(data, rng)
    (count,) = struct.unpack(order + "H", data[start : start + 2])
    entry = start + 2 + 12 * rng.randrange(max(1, count))
    offset, width = rng.choice(((0, 2), (2, 2), (4, 4), (8, 2), (8, 4), (8, 4)))
    tags = (254, 256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 282, 284, 317, 320, 322, 339)
    value = rng.choice(tags if offset == 0 else NASTY_INTEGERS) % 256**width
    field = struct.pack(order + ("H" if width == 2 else "I"), value)
    return data[: entry + offset] + field + data[entry + offset + width :]


def _bmp_field(data: bytes, rng: Random) -> bytes:
    place = rng.choice((2, 10, 14, 18, 22, 26, 28, 30, 34, 46))
    return data[:place] + struct.pack("<I", rng.choice(NASTY_INTEGERS)) + data[place + 4 :]


def _jpeg_segment(data: bytes, rng: Random) -> bytes:
    """Change a few bytes behind a marker of a JPEG."""
    markers = [m.start() for m in re.finditer(b"\xff[\xc0-\xfe]", data)]
    if not markers:
        return data
    place = rng.choice(markers) + rng.choice((1, 2, 3, 4, 5, 6, 7, 9, 11))
    return (
        data[:place] + bytes([rng.choice((0, 1, 2, 3, 4, 8, 12, 16, 127, 255))]) + data[place + 1 :]
    )


# Text


def _cells(data: bytes) -> tuple[list[list[str]], str] | None:
    try:
        text = data.decode("utf-8-sig")
        first = text.split("\n", 1)[0]
        delimiter = max(",;\t", key=first.count)
        return list(csv.reader(io.StringIO(text), delimiter=delimiter)), delimiter
    except (UnicodeDecodeError, csv.Error):
        return None


def _csv_cell(data: bytes, rng: Random) -> bytes:
    """Replace, add or drop cells, rows and columns of a delimited table."""
    read = _cells(data)
    if read is None or not read[0]:
        return _insert(data, rng)
    rows, delimiter = read
    way = rng.randrange(9)
    row = rows[rng.randrange(len(rows))]
    column = rng.randrange(max(1, max(map(len, rows))))
    if way <= 3 and row:
        row[rng.randrange(len(row))] = rng.choice(NASTY_TEXTS)
    elif way == 4:  # a whole column
        value = rng.choice(NASTY_TEXTS)
        for other in rows[1:]:
            if column < len(other):
                other[column] = value
    elif way == 5:  # no such column
        rows = [other[:column] + other[column + 1 :] for other in rows]
    elif way == 6:
        row.append(rng.choice(NASTY_TEXTS))
    elif way == 7:
        rows = rows[: rng.randrange(3)]
    else:
        rows.insert(rng.randrange(len(rows) + 1), list(row))
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def _encoding(data: bytes, rng: Random) -> bytes:
    """The same text in another encoding."""
    try:
        return data.decode().encode(rng.choice(ENCODINGS), "replace")
    except UnicodeDecodeError:
        return data


def _quote(data: bytes, rng: Random) -> bytes:
    place = _place(data, rng)
    return data[:place] + b'"' + data[place:]


def _delimiter(data: bytes, rng: Random) -> bytes:
    return data.replace(
        rng.choice((b",", b"\t", b";", b"\n")), rng.choice((b";", b"\t", b"\r", b"|"))
    )


def _long_field(data: bytes, rng: Random) -> bytes:
    """A field beyond the limit of Python's reader of CSV."""
    place = _place(data, rng)
    return data[:place] + b"A" * 140_000 + data[place:]


def _json_value(data: bytes, rng: Random) -> bytes:
    """Replace, drop or add a value somewhere in a JSON text."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return _insert(data, rng)
    places: list[tuple[Any, Any]] = []
    _collect(tree, places)
    if not places:
        return json.dumps(rng.choice(NASTY_JSON)).encode()
    parent, key = rng.choice(places)
    way = rng.randrange(6)
    if way <= 3:
        parent[key] = rng.choice(NASTY_JSON)
    elif way == 4:
        del parent[key]
    elif isinstance(parent, dict):
        parent[rng.choice(("", "x", "format", "images"))] = rng.choice(NASTY_JSON)
    else:
        parent.insert(key, rng.choice(NASTY_JSON))
    return json.dumps(tree).encode()


def _collect(tree: Any, places: list[tuple[Any, Any]]) -> None:
    """All places of a JSON tree, as container and key."""
    if not isinstance(tree, dict | list):
        return
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        places.append((tree, key))
        _collect(tree[key], places)


def _json_nested(data: bytes, rng: Random) -> bytes:
    """A value that is nested deeper than a recursive reader can go."""
    depth = rng.choice((500, 5000, 100_000))
    nested = rng.choice((b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth))
    return re.sub(rb":\s*[^,{\[\n]+", lambda _: b": " + nested, data, count=1)


def _xml_text(data: bytes, rng: Random) -> bytes:
    """Replace the text of an element."""
    found = list(re.finditer(rb">([^<>]*)</", data))
    return _replace(data, rng, found, NASTY_TEXTS)


def _xml_tag(data: bytes, rng: Random) -> bytes:
    """Rename a tag, drop an element, or change the declaration."""
    way = rng.randrange(4)
    if way == 0:
        names = sorted(set(re.findall(rb"<(\w+)", data)))
        name = rng.choice(names) if names else b"x"
        return re.sub(rb"(</?)" + name + rb"\b", rb"\g<1>other", data)
    if way == 1:
        found = list(re.finditer(rb"<(\w+)[^<>]*>[^<>]*</\1>", data))
        if found:
            one = rng.choice(found)
            return data[: one.start()] + data[one.end() :]
    if way == 2:
        encoding = rng.choice((b"utf-16", b"cp037", b"x-none", b"UTF-7", b"shift_jis", b""))
        head = b'<?xml version="1.0" encoding="' + encoding + b'"?>'
        return re.sub(rb"^(<\?xml[^>]*\?>)?", lambda _: head, data, count=1)
    doctype = rng.choice((
        b'<!DOCTYPE x [<!ENTITY e "e">]>', b'<!DOCTYPE x SYSTEM "file:///etc/passwd">',
        b'<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>',
    ))  # fmt: skip
    end = data.find(b"?>") + 2 if b"?>" in data else 0
    return data[:end] + doctype + data[end:]


def _toml_value(data: bytes, rng: Random) -> bytes:
    """Replace the value behind an equals sign."""
    found = list(re.finditer(rb"= *([^\n]*)", data))
    texts = ("0", "-1", "1e400", "nan", "inf", "true", "''", "'x'", "[]", "[0, 0]", "{}",
             "1979-05-27", "[" * 2000, "'" + "A" * 300 + "'", "9" * 30, "")  # fmt: skip
    return _replace(data, rng, found, texts)


def _replace(
    data: bytes, rng: Random, found: list[re.Match[bytes]], texts: tuple[str, ...]
) -> bytes:
    if not found:
        return _insert(data, rng)
    one = rng.choice(found)
    text = rng.choice(texts).encode("utf-8", "surrogatepass")
    return data[: one.start(1)] + text + data[one.end(1) :]


# Archives


def _members(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def _packed(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def _zip_member(data: bytes, rng: Random) -> bytes:
    """Damage one file of an archive and pack it again, so that the archive itself is whole."""
    try:
        members = _members(data)
        number = rng.randrange(len(members))
        name, content = members[number]
        suffix = "." + name.rsplit(".", 1)[-1] if "." in name else ""
        members[number] = (name, mutate(content, suffix, rng))
        return _packed(members)
    except Exception:  # damaged before
        return _flip(data, rng)


def _zip_names(data: bytes, rng: Random) -> bytes:
    """Rename, repeat or drop a file of an archive, or pack it with another method."""
    try:
        members = _members(data)
        number = rng.randrange(len(members))
        name, content = members[number]
        way = rng.randrange(4)
        if way == 0:
            members[number] = (rng.choice(NASTY_NAMES), content)
        elif way == 1:
            members.insert(rng.randrange(len(members) + 1), (name, content[: len(content) // 2]))
        elif way == 2:
            del members[number]
        methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        return _packed(members, rng.choice(methods))
    except Exception:
        return _flip(data, rng)


def _zip_field(data: bytes, rng: Random) -> bytes:
    """Change a field of a local header or of the directory: sizes, method, flags, offsets."""
    heads = [m.start() for m in re.finditer(rb"PK\x03\x04|PK\x01\x02|PK\x05\x06", data)]
    if not heads:
        return _flip(data, rng)
    place = rng.choice(heads) + rng.choice((4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 42))
    width = rng.choice((2, 4))
    number = struct.pack("<Q", rng.choice(NASTY_INTEGERS))[:width]
    return data[:place] + number + data[place + width :]


# Parquet and SQLite


def _parquet_cell(data: bytes, rng: Random) -> bytes:
    """Replace cells, or a column by one of another type; drop rows, columns or metadata."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
    except Exception:
        return _flip(data, rng)
    if not table.num_columns:
        return data
    name = rng.choice(table.column_names)
    place, count, way = table.column_names.index(name), table.num_rows, rng.randrange(8)
    try:
        values = table.column(place).to_pylist()
        if way <= 2 and values:  # one cell
            nested = isinstance(values[0], list)
            value = [float("nan")] * len(values[0]) if nested else rng.choice(NASTY_TEXTS)
            values[rng.randrange(count)] = rng.choice((value, None))
            column = pa.array(values, table.schema.field(place).type if nested else pa.string())
            table = table.set_column(place, name, column)
        elif way == 3:
            column = rng.choice((pa.array(range(count)), pa.array(np.full(count, np.nan)),
                                 pa.nulls(count), pa.array([b"\xff"] * count),
                                 pa.array([True] * count), pa.array([[1.0]] * count)))  # fmt: skip
            table = table.set_column(place, name, column)
        elif way == 4:
            table = table.remove_column(place)
        elif way == 5:
            table = table.slice(0, rng.choice((0, 1, 2)))
        elif way == 6:
            table = pa.concat_tables([table, table])
        else:
            table = table.replace_schema_metadata(
                rng.choice((None, {"pandas": "{"}, {"model": "x"}))
            )
        out = io.BytesIO()
        pq.write_table(table, out)
        return out.getvalue()
    except (pa.ArrowException, TypeError, ValueError, OverflowError, UnicodeError):
        return _flip(data, rng)


def _sqlite_table(data: bytes, rng: Random) -> bytes:
    """Change the rows or the tables of a database, past its triggers."""
    import sqlite3

    database = sqlite3.connect(":memory:")
    try:
        database.deserialize(data)
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type='trigger'"):
            database.execute(f'DROP TRIGGER "{trigger}"')
        columns = ("specimen", "verdict", "taxon", "reviewer", "time", "previous_verdict",
                   "suggested", "probability", "model", "undoes", "number")  # fmt: skip
        text = rng.choice((*NASTY_TEXTS, None, 5, 1.5, b"\xff"))
        statement, values = rng.choice((
            (f"UPDATE decisions SET {rng.choice(columns)} = ? WHERE number < 4", (text,)),
            (f"UPDATE decisions SET {rng.choice(columns)} = ? WHERE number < 4", (text,)),
            (f"UPDATE decisions SET {rng.choice(columns)} = ? WHERE number < 4", (text,)),
            ("UPDATE metadata SET value = ?", (text,)),
            ("DELETE FROM metadata", ()),
            ("DROP TABLE steps", ()),
            ("DROP TABLE metadata", ()),
            (f"ALTER TABLE decisions DROP COLUMN {rng.choice(columns)}", ()),
            ("INSERT INTO steps VALUES (1, 'A', '2026-01-01', ?)", (text,)),
            ("DELETE FROM decisions", ()),
        ))  # fmt: skip
        database.execute(statement, values)
        database.commit()
        return database.serialize()
    except (sqlite3.Error, UnicodeError):
        return _flip(data, rng)
    finally:
        database.close()


_TEXT: tuple[Mutation, ...] = (_encoding, _quote, _insert)
_TABLE: tuple[Mutation, ...] = (*[_csv_cell] * 5, *_TEXT, _delimiter, _long_field)
_ZIP: tuple[Mutation, ...] = (_zip_member, _zip_member, _zip_names, _zip_field)
STRUCTURED: dict[str, tuple[Mutation, ...]] = {
    ".png": (_png_chunk,),
    ".tif": (_tiff_field,),
    ".bmp": (_bmp_field,),
    ".jpg": (_jpeg_segment,),
    ".csv": _TABLE,
    ".tsv": _TABLE,
    ".json": (*[_json_value] * 8, _json_nested, _encoding),
    ".xml": (*[_xml_text] * 3, _xml_tag, _encoding),
    ".toml": (*[_toml_value] * 3, _encoding),
    ".zip": _ZIP,
    ".xlsx": _ZIP,
    ".parquet": (_parquet_cell,),
    ".sqlite": (_sqlite_table,),
}
