"""Read the blocks of commands in README and docs, and run them as a reader would, in one folder.

A block is fenced with ```sh or ```python. An HTML comment right above it may say what it needs, or
why it cannot run here:

    <!-- test: needs plates new-plates -->      data that the reader has: see `PROVIDERS`
    <!-- test: needs fill:queue.csv:expert -->  a column that the reader fills in
    <!-- test: needs exit:1 -->                 the exit status of the last command
    <!-- test: skip, needs a network -->        one of `SKIP_REASONS`, and nothing else

`forametric` runs in this process. Recipes are made quick by `quick_recipes`, so that the commands
run exactly as they are printed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SKIP_REASONS = ("needs a network", "needs a cluster", "needs a GPU", "a server that does not end")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!-- test: (.+?) -->\n\Z")

# Ten forms of 20 images each: with three forms held out, 21 specimens are left for validation.
FORMS, PER_FORM, SIZE = 10, 20, 64
SAMPLES = ("GC37 10 cm", "GC37 20 cm", "GC37 30 cm", "GC37 40 cm")
DEBRIS = "not_a_specimen"


@dataclass(frozen=True)
class Block:
    """A fenced block of a document.

    Attributes
    ----------
    line : int
        Of its first command.
    needs : tuple of str
        What has to be there before it runs.
    skip : str
        Why it cannot run here; "" for a block that can.
    """

    document: Path
    line: int
    language: str
    text: str
    needs: tuple[str, ...] = ()
    skip: str = ""

    @property
    def place(self) -> str:
        """Where it is: README.md:12."""
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks_of(document: Path) -> list[Block]:
    """The fenced blocks of a document, in order; an unknown directive is an error."""
    text = document.read_text(encoding="utf-8")
    blocks = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start(2)) + 1
        needs, skip = _directive(text[: match.start()], f"{document.name}:{line}")
        blocks.append(Block(document, line, match[1], match[2], needs, skip))
    return blocks


def _directive(before: str, place: str) -> tuple[tuple[str, ...], str]:
    found = COMMENT.search(before)
    if found is None:
        return (), ""
    word, _, rest = found[1].partition(" ")
    if word == "needs":
        return tuple(rest.split()), ""
    if word == "skip," and rest in SKIP_REASONS:
        return (), rest
    raise ValueError(f"{place}: unknown directive {found[1]!r}; see tests/support/docs.py")


# Commands


def commands_of(text: str) -> list[list[str]]:
    """The commands of a shell block as lists of arguments; comments and `&&` understood.

    >>> commands_of("a -o b   # why\\na \\\\\\n  -c 'd e' && f\\n")
    [['a', '-o', 'b'], ['a', '-c', 'd e'], ['f']]
    """
    commands = []
    for line in _whole_lines(text.replace("\\\n", " ")):
        tokens = shlex.split(line, comments=True)
        command: list[str] = []
        for token in [*tokens, "&&"]:
            if token != "&&":
                command.append(token)
            elif command:
                commands.append(command)
                command = []
    return commands


def _whole_lines(text: str) -> Iterator[str]:
    """Lines; those within quotes stay together."""
    whole = ""
    for line in text.splitlines():
        whole += line
        try:
            shlex.split(whole, comments=True)
        except ValueError:  # a quotation is still open
            whole += "\n"
            continue
        yield whole
        whole = ""
    if whole:
        yield whole


def forametric_arguments(command: list[str]) -> list[str] | None:
    """What follows `forametric` or `python -m forametric`; None for another program."""
    while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
        command = command[1:]
    if command[:1] == ["forametric"]:
        return command[1:]
    if command[:3] == ["python", "-m", "forametric"]:
        return command[3:]
    if "-m" in command and command[command.index("-m") + 1 :][:1] == ["forametric"]:  # torchrun
        return command[command.index("-m") + 2 :]
    return None


def inline_commands(document: Path) -> list[tuple[int, list[str]]]:
    """`forametric verb …` in running text, with the line; placeholders are left as they are."""
    text = document.read_text(encoding="utf-8")
    prose = FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    found = []
    for match in re.finditer(r"`(forametric [^`]+)`", prose):
        words = match[1].replace("\n", " ").replace("…", "")
        arguments = forametric_arguments(shlex.split(words)) or []
        if arguments:
            found.append((prose.count("\n", 0, match.start()) + 1, arguments))
    return found


def check_arguments(arguments: list[str]) -> str:
    """What is wrong with a verb and its options, without running it; "" for nothing."""
    import typer

    from forametric.cli import app

    group: Any = typer.main.get_command(app)
    verb, *rest = arguments
    if verb.startswith("-"):
        known = {option for parameter in group.params for option in parameter.opts} | {"--help"}
        return "" if verb in known else f"no option {verb}"
    command = group.commands.get(verb)
    if command is None:
        return f"no verb {verb!r}"
    if hasattr(command, "commands") and rest:  # a verb of verbs, such as users
        verb, command = f"{verb} {rest[0]}", command.commands.get(rest[0])
        if command is None:
            return f"no verb {verb!r}"
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    unknown = [word for word in rest if re.match(r"--?[a-z]", word) and word not in known]
    return f"{verb} has no option {', '.join(unknown)}" if unknown else ""


# Running


@contextmanager
def quick_recipes() -> Iterator[None]:
    """Every recipe loaded by name trains for two epochs on small images, from one backbone.

    The backbone is the packaged one, so that nothing is downloaded. The models of a benchmark,
    which are thrown away, are not written as ONNX: that takes longer than such a training. The
    paper's protocol runs on two of its splits.
    """
    from forametric.embedding import network
    from forametric.embedding.recipe import Recipe
    from forametric.evaluation import karaderi2022

    original = Recipe.load.__func__  # type: ignore[attr-defined]
    export_onnx = network.export_onnx

    def load(cls: type[Recipe], name: str | Path, settings: Any = ()) -> Recipe:
        recipe: Recipe = original(cls, name, settings)
        quick = [
            f"epochs={min(recipe.epochs, 2)}",
            "network.image_size=32",
            "network.backbone=tf_efficientnet_lite0",
            "tta_views=1",
        ]
        return recipe.with_settings(quick)

    def export(*arguments: Any) -> None:
        if "runs" in Path(arguments[-1]).parts:
            raise RuntimeError("not needed")
        export_onnx(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recipe, "load", classmethod(load))
        patch.setattr(network, "export_onnx", export)
        patch.setattr(karaderi2022, "SPLITS", karaderi2022.SPLITS[:2])
        yield


def run_block(block: Block, workshop: Workshop, folder: Path, names: dict[str, Any]) -> None:
    """Run a block in a folder; `names` are the variables of the document's Python blocks."""
    expected = 0
    for need in block.needs:
        word, *rest = need.split(":")
        if word == "fill":
            workshop.fill(folder / rest[0], rest[1])
        elif word == "exit":
            expected = int(rest[0])
        else:
            workshop.provide(need, folder)
    with _inside(folder), quick_recipes():
        if block.language == "python":
            code = "\n" * (block.line - 1) + block.text
            exec(compile(code, str(block.document), "exec"), names)
            return
        commands = commands_of(block.text)
        for number, command in enumerate(commands, 1):
            wanted = expected if number == len(commands) else 0
            run_command(command, f"{block.place}: {shlex.join(command)}", wanted)


def run_command(command: list[str], place: str, expected: int = 0) -> None:
    """Run one command in this process and compare its exit status."""
    from forametric.cli import app

    arguments = forametric_arguments(command)
    assert arguments is not None, f"{place}: only forametric can run here; mark the block as skip"
    result = CliRunner().invoke(app, arguments)
    trouble = "" if isinstance(result.exception, SystemExit) else repr(result.exception)
    assert result.exit_code == expected, f"{place}\n{result.output}\n{trouble}"


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


# What a reader has


@dataclass
class Workshop:
    """Small simulated data, made once; each document gets copies.

    Attributes
    ----------
    folder : Path
        Where they are kept.
    truth : dict of str to str
        The form of each image of `core`, by file name.
    """

    folder: Path
    truth: dict[str, str] = field(default_factory=dict)

    def provide(self, name: str, folder: Path) -> None:
        """Copy what `name` stands for into a folder, unless the document has made it already."""
        make, outputs, needs = PROVIDERS[name]
        for other in needs:
            self.provide(other, folder)
        if not all((self.folder / output).exists() for output in outputs):
            for other in needs:
                self.provide(other, self.folder)
            with _inside(self.folder), quick_recipes():
                make(self)
        for output in outputs:
            source, target = self.folder / output, folder / output
            if target.exists():
                continue
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)

    def fill(self, path: Path, column: str) -> None:
        """Fill in a column of a table as an expert would: all true names, or the first group's."""
        table = pd.read_csv(path, dtype=object, keep_default_na=False)
        assert column in table, f"{path.name} has no column {column!r}: {list(table.columns)}"
        if column == "name":
            table[column] = ["New species", *[""] * (len(table) - 1)]
        else:
            table[column] = [self.truth[Path(image).name] for image in table["image"]]
        table.to_csv(path, index=False)


def _forms(first: int = 0, last: int = FORMS) -> list[str]:
    """Growth forms by number; those of `plates` come first."""
    from forametric import simulation

    return list(simulation.FORMS)[first:last]


def _draw(folder: Path, form: str, seed: int) -> Path:
    from forametric.simulation import render_shell

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{form.replace(' ', '-')}-{seed:03}.png"
    Image.fromarray(render_shell(form, seed, SIZE)).save(path)
    return path


def _plates(_: Workshop) -> None:
    for form in _forms():
        for seed in range(PER_FORM):
            _draw(Path("plates", form), form, seed)


def _new_plates(_: Workshop) -> None:
    for form in _forms():
        _draw(Path("new-plates"), form, 500)


def _specimen(_: Workshop) -> None:
    path = _draw(Path("single"), _forms()[1], 900)
    Image.open(path).convert("RGB").save("specimen.jpg")
    shutil.rmtree("single")


def _core_table(workshop: Workshop) -> None:
    """Four samples of known forms, forms not in `plates`, and debris, without names."""
    rng = np.random.default_rng(0)
    rows = []
    for number, sample in enumerate(SAMPLES):
        wanted = [(form, 100 + number * 10 + k) for form in _forms(0, 5) for k in range(4)]
        wanted += [(form, 200 + number) for form in _forms(FORMS, FORMS + 2)]
        paths = [(_draw(Path("core-images"), form, seed), form) for form, seed in wanted]
        for k in range(3):
            path = Path("core-images", f"debris-{number}-{k}.png")
            Image.fromarray(rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8)).save(path)
            paths.append((path, DEBRIS))
        for path, form in paths:
            workshop.truth[path.name] = form
            rows.append((path.as_posix(), sample, int(sample.split()[1])))
    table = pd.DataFrame(rows, columns=["image", "sample", "depth_cm"])
    table.to_csv("core.csv", index=False)


def _slide(number: int) -> Image.Image:
    from forametric.simulation.slides import simulate_slide

    return Image.fromarray(simulate_slide(number, 25, side=1000).picture)


def _one_slide(_: Workshop) -> None:
    _slide(0).save("slide.jpg", quality=95)


def _two_slides(_: Workshop) -> None:
    _slide(1).save("slide1.jpg", quality=95)
    _slide(2).save("slide2.jpg", quality=95)


def _by(*lines: str) -> Callable[[Workshop], None]:
    def make(_: Workshop) -> None:
        for command in commands_of("\n".join(lines)):
            run_command(command, f"preparing: {shlex.join(command)}")

    return make


def _core_review(workshop: Workshop) -> None:
    """A store with a decision on each specimen of the core."""
    from forametric.data.collection import Collection

    table = Collection.open("core").specimens[["id", "image"]]
    answers = [workshop.truth[Path(image).name] for image in table["image"]]
    table.assign(expert=answers).to_csv("answers.csv", index=False)
    Path("core-review").mkdir()
    store = "core-review/decisions.sqlite"
    _by(f"forametric record core answers.csv --store {store} --reviewer 'K. Lee'")(workshop)
    Path("answers.csv").unlink()


# Name: how it is made, what is made, and what it is made from.
PROVIDERS: dict[str, tuple[Callable[[Workshop], None], tuple[str, ...], tuple[str, ...]]] = {
    "plates": (_plates, ("plates",), ()),
    "new-plates": (_new_plates, ("new-plates",), ()),
    "specimen": (_specimen, ("specimen.jpg",), ()),
    "slide": (_one_slide, ("slide.jpg",), ()),
    "slides": (_two_slides, ("slide1.jpg", "slide2.jpg"), ()),
    "core-table": (_core_table, ("core-images", "core.csv"), ()),
    "collection": (_by("forametric import plates/ -o collection"), ("collection",), ("plates",)),
    "core": (_by("forametric import core.csv -o core"), ("core",), ("core-table",)),
    "model": (
        _by(
            "forametric split collection --held-out-taxa 3 -o split.csv",
            "forametric train collection --split split.csv -o model",
        ),
        ("split.csv", "model"),
        ("collection",),
    ),
    "core-review": (_core_review, ("core-review",), ("core",)),
}
