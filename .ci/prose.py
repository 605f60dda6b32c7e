#!/usr/bin/env python3
"""Find words that the glossary has replaced, and the worst English patterns.

    python .ci/prose.py            # all files; prints file:line and exits with 1 where there is any
    python .ci/prose.py README.md  # some files
    python .ci/prose.py --count    # how many of each rule

Each rule says what to write in its place. Exceptions are in `ALLOWED`, each with its reason. The
changelog is exempt: it names the old words.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "pyproject.toml",
    ".github/**/*", "docs/**/*.md", "docs/*.py", "experiments/results/README.md", "src/**/*.py",
    "src/**/*.toml", "src/**/*.html", "src/**/*.md", "web/src/**/*.ts", "web/src/**/*.svelte",
    "examples/**/*.ipynb",
)  # fmt: skip
GENERATED = ("src/forametric/server/static/*", "web/src/lib/schema*.ts")


@dataclass(frozen=True)
class Rule:
    """A pattern, what to write in its place, and where it is looked for ("" for everywhere)."""

    pattern: str
    instead: str
    only: str = ""


# The words that DESIGN and the glossary have replaced.
WORDS = (
    Rule(r"\bgaller(y|ies)\b", "reference specimens, ReferenceSet"),
    Rule(r"\bstrang(e|er|ers|eness|est)\b", "novel, novelty"),
    Rule(r"\b(remoteness|closeness|nearness)\b", "centroid distance, distance weight"),
    Rule(r"\bset[-_]error\b", "conformal_alpha"),
    Rule(r"\b(sure|surest|surer|surely)\b", "min_probability, confident, probably"),
    Rule(r"\b(role|roles)\b", "subset"),
    Rule(r"\bneighbours_kept\b", "knn_preservation"),
    Rule(r"\b(squares|load_squares?|prepare_square)\b", "images, inputs"),
    Rule(r"\b(photograph(s|ed|ing)?|pictures?)\b", "image, figure, render"),
    Rule(r"\btrays?\b", "slide"),
    Rule(r"\b(individuals?)\b", "specimen"),
    Rule(r"\bshells?\b", "specimen"),
    Rule(r"\b(desk|studio|lookalike)s?\b", "workspace, session, plate"),
    Rule(r"\b(lent|LENT)\b", "reserved, reservation"),
    Rule(r"\btak(e|es|ing)[ _]turns\b", "diversify"),
    Rule(r"(?<=[\"'`.])doubt(?=[\"'`=\]])", "error_probability"),
    Rule(r"\bin doubt\b|\bdoubtful\b|\bthe doubt\b", "uncertain, uncertainty"),
    Rule(r"\bplain counts?\b", "raw count"),
    Rule(r"\baudit(s|ed|ing)?\b", "check"),
    Rule(r"\bgot\b", "a noun: embeddings, result", "*.py"),
    Rule(r"\bneighbours?_|_neighbours?\b|--neighbours", "neighbor (American in identifiers)"),
    Rule(r"\bunknown\.(auroc|fpr95|oscr)\b", "open_set.*"),
    Rule(r"\b(shares|gallery)\.(csv|parquet)\b", "abundances.csv, references.parquet"),
    Rule(r"\b(decided_by|decided_on)\b", "verdict_by"),
    Rule(r"\bforametric (fetch|decide|label)\b", "download, record, apply-decisions"),
    Rule(
        r"--(unseen|again|base|draws|sure|number|references|vectors|from)\b",
        "the new option; see the changelog",
        "*.md *.py *.html *.svelte",
    ),
    Rule(r"\bbenchmarks/", "experiments/"),
    Rule(r"\b(backbone_rate|head_rate|network\.size|network\.components)\b", "recipe fields"),
)
# English that readers have to translate.
ENGLISH = (
    Rule(r"\b(beside|anew|parted|heed(s|ed|ing)?|reckon(s|ed|ing)?|whence)\b",
         "next to, again, split, consider, estimate, from which"),
    Rule(r"\bof before\b", "earlier"),
    Rule(r"\bat most so (often|many)\b|\bso many\b", "name the quantity"),
    Rule(r"\bgo(es)? on (where|from there|with what)\b", "resume"),
    Rule(r"\b(the|that) very (same|bytes|steps|labels)\b", "the same"),
    Rule(r"(?<![Tt]here )\b(is|are|was|were) no (?!longer\b|more\b|less\b|fewer\b|better\b|"
         r"worse\b|need\b|lower\b|higher\b|larger\b|smaller\b)[a-z]", "is not a …"),
    Rule(r"(?<![Tt]here )(?<!where )\b(is|are) none\b(?! of)", "found …; there is none"),
    Rule(r"\bis looked over\b|\blook(s|ed)? \w+ over\b", "check"),
    Rule(r"\b(in|of|from|through|into|out of) (the|a|one) (room|house|door)\b|\bone door\b|"
         r"\brooms?\b|\bfront door\b", "package, module"),
    Rule(r"\ban expert's word\b|\bexperts?' words?\b", "decision, label"),
    Rule(r"\bfor it to be\b", "two sentences"),
)  # fmt: skip
RULES = (*WORDS, *ENGLISH)


@dataclass(frozen=True)
class Allowed:
    """An exception: in these files, on lines that match, the pattern is right."""

    pattern: str
    files: str
    line: str
    reason: str


ALLOWED = (
    Allowed(r"shell|individual|photograph|picture", "src/forametric/simulation/*", "",
            "simulated shells are shells"),
    Allowed("shell", "src/forametric/cli/examples.py src/forametric/cli/demo.py", "",
            "commands on simulated shells"),
    Allowed("shell", "src/forametric/cli/_options.py", "number of shells", "simulated shells"),
    Allowed("shell", "src/forametric/review/*.py", "no shell|not a shell", "words of experts"),
    Allowed(r"shell|individual", "docs/simulated-shells.md docs/*.py", "", "simulated shells"),
    Allowed("picture", "*", r"\.picture\b", "an attribute of simulated shells and slides"),
    Allowed("shell", "*", r"(?i)simulat|demo|shell=|subshell|shell command|render_shell",
            "simulated shells, and the command shell"),
    Allowed("shell", "docs/glossary.md", r"^\| shell \|", "the glossary defines the word"),
    Allowed("shell", "docs/slides.md", "50 to 300 shells|A shell is found", "a simulated slide"),
    Allowed("shell", "experiments/results/README.md", "", "results on simulated shells"),
    Allowed("picture", "*", r"docs/(review_)?pictures\.py", "the name of a script"),
    Allowed("squares", "*", r"least squares|sum of squares", "the method"),
    Allowed("role", "web/src/* src/*.html docs/*.py", r"role=|\brole:|get_by_role", "ARIA"),
    Allowed("role", "src/forametric/server/* src/forametric/cli/*.py web/src/* docs/review.md "
            "docs/architecture.md docs/glossary.md SECURITY.md", "", "what a user may do"),
    Allowed("audit", "docs/decisions*", r"can be audited", "the history of decisions"),
    Allowed("audit", ".github/workflows/audit.yml", "audit", "the names of programs"),
    Allowed("individual", "*", r"(?i)individual (images|files|specimens)\b", "the adjective"),
)  # fmt: skip


def main(arguments: list[str]) -> int:
    """Print what was found; 1 where there is any."""
    names = [a for a in arguments if not a.startswith("-")]
    files = [Path(name).resolve() for name in names] or sorted(files_of(ROOT))
    found = [finding for file in files for finding in findings(file)]
    counts = Counter(rule.pattern for _, rule, _ in found)
    if "--count" in arguments:
        for pattern, number in counts.most_common():
            print(f"{number:6} {pattern}")
    else:
        for place, rule, word in found:
            print(f"{place}: {word!r}: write {rule.instead}")
    if found:
        print(f"{len(found)} to change; see docs/glossary.md", file=sys.stderr)
    return 1 if found else 0


def files_of(root: Path) -> set[Path]:
    """The files that are checked."""
    files = {path for pattern in FILES for path in root.glob(pattern) if path.is_file()}
    return {f for f in files if not any(fnmatch(_name(f), pattern) for pattern in GENERATED)}


def findings(file: Path) -> Iterator[tuple[str, Rule, str]]:
    """Every match in a file: where, which rule, which word."""
    name = _name(file)
    rules = [rule for rule in RULES if not rule.only or _matches(name, rule.only)]
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        for rule in rules:
            for match in COMPILED[rule.pattern].finditer(line):
                if not _allowed(name, line, match[0]):
                    yield f"{name}:{number}", rule, match[0]


def _allowed(name: str, line: str, word: str) -> bool:
    return any(
        re.search(one.pattern, word, re.IGNORECASE)
        and _matches(name, one.files)
        and re.search(one.line, line)
        for one in ALLOWED
    )


def _matches(name: str, patterns: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns.split())


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.as_posix()


COMPILED = {rule.pattern: re.compile(rule.pattern) for rule in RULES}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
