"""README and docs: every block of commands runs as printed, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

from tests.support import docs
from tests.support.docs import DOCUMENTS, ROOT, Workshop, blocks_of, commands_of

PAGES = [*DOCUMENTS, *sorted((ROOT / "docs" / "decisions").glob("*.md"))]
PROSE = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]
INSTALL = "pip install '.[train]' && forametric demo"
TEST = "pip install -e '.[dev]' && pytest -n 2"


def names(documents):
    return {"argvalues": documents, "ids": [str(d.relative_to(ROOT)) for d in documents]}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.mark.slow
@pytest.mark.parametrize("document", **names(DOCUMENTS))
def test_the_blocks_of_a_page_run_in_order_in_an_empty_folder(document, workshop, tmp_path):
    blocks = [b for b in blocks_of(document) if b.language in ("sh", "python") and not b.skip]
    if not blocks:
        pytest.skip("the page has no block that runs here")
    variables = {"__name__": "docs"}
    for block in blocks:
        docs.run_block(block, workshop, tmp_path, variables)


@pytest.mark.parametrize("document", **names(PROSE))
def test_every_block_says_what_it_is(document):
    languages = {"sh", "python", "text", "r", "nginx"}
    for block in blocks_of(document):
        assert block.language in languages, f"{block.place} is fenced as {block.language!r}"
        for need in block.needs:
            word = need.split(":")[0]
            assert word in {*docs.PROVIDERS, "fill", "exit"}, f"{block.place} needs {need}"


@pytest.mark.parametrize("document", **names(DOCUMENTS))
def test_every_verb_and_option_on_a_page_exists(document):
    wrong = [
        f"{block.place}: {message}"
        for block in blocks_of(document)
        if block.language == "sh"
        for command in commands_of(block.text)
        if (arguments := docs.forametric_arguments(command)) is not None
        if (message := docs.check_arguments(arguments))
    ]
    wrong += [
        f"{document.relative_to(ROOT)}:{line}: {message}"
        for line, arguments in docs.inline_commands(document)
        if (message := docs.check_arguments(arguments))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_readme_has_its_two_commands_in_blocks_of_their_own():
    texts = [block.text.strip() for block in blocks_of(ROOT / "README.md")]
    assert texts[:2] == [INSTALL, TEST]


def test_the_readme_names_the_commands_that_ci_runs():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for part in TEST.split(" && "):
        assert part in script, f".ci/run does not run {part!r}"


@pytest.mark.parametrize("document", **names(PROSE))
def test_every_link_leads_to_a_file(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("#"):
            continue
        path = document.parent / target.partition("#")[0]
        assert path.exists(), f"{document.relative_to(ROOT)} links to {target}"


def test_the_architecture_page_lists_every_package_and_every_verb():
    import typer

    from forametric.cli import app

    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = (ROOT / "src" / "forametric").glob("*/__init__.py")
    missing = [p.parent.name for p in packages if f"| `forametric.{p.parent.name}` |" not in page]
    table = page[page.index("| verb |") : page.index("## The three classes")]
    verbs = typer.main.get_command(app).commands
    missing += [verb for verb in verbs if f"`{verb}`" not in table]
    assert not missing, f"docs/architecture.md lacks {', '.join(missing)}"


def test_the_glossary_has_every_verdict_decision_and_subset():
    from forametric.data.splits import SUBSETS
    from forametric.data.verdicts import Verdict
    from forametric.identification.identifier import DECISIONS

    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = {*SUBSETS, *map(str, Verdict), *DECISIONS}
    assert not {word for word in words if f"`{word}`" not in page}


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in sorted(Path(ROOT, "docs").glob("*.md")):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


def test_every_design_record_is_in_their_index():
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    for page in sorted(Path(ROOT, "docs", "decisions").glob("0*.md")):
        assert f"]({page.name})" in index, page.name
