"""Help, choices and version of the command line; what is said of failures."""

import errno
import inspect
import json
import re
import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer

from forametric import __version__
from forametric.cli import _options as opt
from forametric.cli import app
from forametric.cli._output import EXTRAS, failure
from forametric.data.exporters import EXPORTERS
from forametric.data.importers import IMPORTERS
from forametric.data.splits import make_split
from forametric.errors import InputError, MissingExtraError
from forametric.evaluation.benchmark import benchmark
from forametric.model.identify import identify_images
from tests.support.cli import forametric
from tests.support.verbs import all_verbs

TOP = typer.main.get_command(app).commands
USERS = {f"users {name}": command for name, command in TOP["users"].commands.items()}
COMMANDS = {name: command for name, command in TOP.items() if name != "users"} | USERS
PANELS = {opt.DATA, opt.MODEL, opt.ANALYSIS, opt.REVIEW, opt.EXAMPLES}
VERBS = {
    "import", "segment", "download", "taxonomy", "check", "split", "export", "info",
    "train", "evaluate", "benchmark", "calibrate", "add", "recipes",
    "identify", "embed", "discover", "assemblage", "map",
    "queue", "record", "decisions", "backup", "restore", "apply-decisions", "review", "serve",
    "users add", "users list", "users log", "users password", "users remove", "users revoke",
    "users role", "users token",
    "demo", "simulate",
}  # fmt: skip


def test_the_verbs_are_those_meant():
    assert set(COMMANDS) == VERBS
    assert {command.rich_help_panel for command in COMMANDS.values()} == PANELS


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help_with_an_example(verb):
    shown = forametric(*verb.split(), "--help")
    assert shown.returncode == 0
    assert f"Example: forametric {verb}" in " ".join(shown.stdout.split())


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_parameter_says_what_it_is(verb):
    """27 help texts were missing."""
    silent = [p.name for p in COMMANDS[verb].params if not getattr(p, "help", None)]
    assert not silent


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_an_example_uses_options_that_exist(verb):
    command = COMMANDS[verb]
    options = {o for p in command.params if p.param_type_name == "option" for o in p.opts}
    example = command.help[command.help.index("Example:") :]
    for line in re.findall(rf"forametric {verb} (.*)", example):
        assert {word for word in line.split() if word.startswith("-")} <= options


def test_choices_are_the_registries():
    assert {str(f) for f in opt.SourceFormat} == {"auto", *IMPORTERS}
    assert {str(f) for f in opt.ExportFormat} == set(EXPORTERS)


def test_defaults_of_options_are_those_of_the_library():
    for verb, function, names in (
        ("identify", identify_images, {"min_probability": "min_probability"}),
        ("split", make_split, {"test": "test", "val": "val", "seed": "seed"}),
        ("benchmark", benchmark, {"repeats": "repeats", "seeds": "seeds"}),
    ):
        known = {p.name: p.default for p in COMMANDS[verb].params}
        defaults = inspect.signature(function).parameters
        for option, parameter in names.items():
            assert known[option] == defaults[parameter].default, (verb, option)


def test_the_version_is_printed():
    shown = forametric("--version")
    assert (shown.returncode, shown.stdout.strip()) == (0, f"forametric {__version__}")


def test_without_a_verb_the_panels_are_shown():
    shown = forametric()
    for panel in PANELS:
        assert panel in shown.stdout + shown.stderr


def test_an_unknown_verb_and_option_are_refused():
    assert forametric("fetch").returncode == 2
    assert forametric("split", "c", "--unseen", 5).returncode == 2


@pytest.mark.parametrize("verb", ["recipes", "info"])
def test_json_for_programs(verb):
    assert json.loads(forametric(verb, "--json").stdout)


# Failures


@pytest.mark.parametrize(
    ("package", "install"),
    [
        ("torch", "'forametric[train]'"),
        ("torch.nn", "'forametric[train]'"),
        ("timm", "'forametric[train]'"),
        ("pytorch_metric_learning", "'forametric[train]'"),
        ("ray", "'forametric[cluster]'"),
        ("fsspec.core", "'forametric[cluster]'"),
        ("psycopg", "'forametric[postgresql]'"),
        ("s3fs", "s3fs"),
    ],
)
def test_a_missing_package_is_answered_with_what_installs_it(package, install):
    """Any missing module was once answered with forametric[train]."""
    sentence = failure(ModuleNotFoundError(f"No module named {package!r}", name=package))
    assert sentence == f"{package.split('.')[0]} is not installed: pip install {install}"


def test_every_extra_that_installs_something_is_known():
    root = Path(__file__).resolve().parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert set(EXTRAS) == set(extras) - {"dev"}
    named = {
        re.split(r"[\[<>=]", package)[0].replace("-", "_")
        for extra in EXTRAS
        for package in extras[extra]
    }
    assert named <= {name for names in EXTRAS.values() for name in names}


def test_expected_failures_are_sentences_and_others_are_not_hidden():
    assert failure(InputError("what to do")) == "what to do"
    assert "forametric[cluster]" in failure(MissingExtraError("this", "cluster"))
    full = failure(OSError(errno.ENOSPC, "No space left on device", "a.png"))
    assert full == "the disk is full (a.png); nothing half-written was kept."
    assert failure(ZeroDivisionError("a programming error")) is None


# Numbers


NUMBERS = sorted(
    (verb, p.opts[-1])
    for verb, command in all_verbs().items()
    for p in command.params
    if {int, float} & {t := get_type_hints(command.callback).get(p.name), *get_args(t)}
)


def test_the_numbers_of_the_command_line_are_found():
    assert {("split", "--seed"), ("identify", "--min-probability"), ("review", "--port")} <= {
        *NUMBERS
    }


@pytest.mark.parametrize(("verb", "option"), NUMBERS)
@pytest.mark.parametrize(
    "number", ["-1", "nan", "inf", "1e999", "99999999999999999999", "x", "1,5"]
)
def test_a_number_out_of_range_is_refused_by_one_sentence(verb, option, number, tmp_path):
    """Negative seeds and counts, and shares that are no number, once ended in tracebacks."""
    required = [p for p in all_verbs()[verb].params if p.required and p.opts[-1] != option]
    given = [
        word
        for p in required
        for word in ([p.opts[-1]] if p.param_type_name == "option" else []) + ["nowhere"]
    ]
    done = forametric(*verb.split(), *given, option, number, cwd=tmp_path)
    assert done.returncode == 2
    assert option in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output", [".", "..", "/", "x/.."])
def test_a_folder_in_use_is_not_an_output(output, shells_folder, tmp_path):
    done = forametric("split", shells_folder, "-o", output, cwd=tmp_path)
    assert done.returncode == 2
    assert "name a new file or folder" in done.stderr
