"""Load a study: read it, check it under every profile, and plan it under one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from attention_arena.catalogue import Catalogue, load_catalogue
from attention_arena.spelling import unknown_name
from attention_arena.study.check import Builds, check
from attention_arena.study.match import match_runs
from attention_arena.study.merge import apply_profile, spell_out
from attention_arena.study.plan import Plan
from attention_arena.study.problems import Problem, StudyError, refuse
from attention_arena.study.schema import folder_name_fault
from attention_arena.study.validation import Problems, shown
from attention_arena.study.yaml_lines import Found, read_yaml

FULL = "full"
"""The profile that is the study's own keys, with nothing merged in."""


def load_study(path: Path, profile: str | None = None, catalogue: Catalogue | None = None) -> Plan:
    """Return the plan of the study in `path` under `profile`, or raise StudyError with every problem at once.

    Without `profile`, the study's own `profile:` counts, and without that one `full`. All profiles are checked,
    whichever is chosen; budgets are matched under the chosen one alone. `catalogue` defaults to what is installed.
    """
    text = _read_text(path)
    tree = read_yaml(text, path)
    if not isinstance(tree.value, dict):
        message = f"expected a mapping with name, tasks and variants, got {shown(tree.plain())}"
        raise refuse(path, message, tree.line)
    catalogue = load_catalogue() if catalogue is None else catalogue
    problems = Problems(path)
    chosen = _choose_profile(tree, profile, problems)
    builds: Builds = {}
    plain = spell_out(tree)
    study, runs = check(plain, catalogue, problems, builds)
    warnings = problems.warnings
    for name, changes in tree.mapping("profiles").items():
        of_profile = Problems(path)
        merged = apply_profile(plain, changes, of_profile)
        profile_study, profile_runs = check(merged, catalogue, of_profile, builds)
        _take_over(problems, of_profile, name)
        if name == chosen:
            study, runs, warnings = profile_study, profile_runs, of_profile.warnings
    if problems.errors or study is None:
        raise StudyError(problems.errors)
    if study.match != "shape":
        runs = match_runs(runs, study.match)
    return Plan(study, chosen, path, text, runs, tuple(warnings))


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise refuse(path, "there is no such file") from error
    except IsADirectoryError as error:
        raise refuse(path, "this is a folder; expected a study file") from error
    except OSError as error:
        raise refuse(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise refuse(path, f"not text in UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from error


def _choose_profile(tree: Found, asked: str | None, problems: Problems) -> str:
    """Return the profile to plan, and note what is wrong with the names of profiles."""
    profiles = dict(tree.mapping("profiles").items())
    for name, changes in profiles.items():
        fault = folder_name_fault(name)
        if fault is not None:
            problems.add(changes, fault)
        if name == FULL:
            problems.add(changes, f"{FULL!r} is the study without a profile; choose another name")
    known = {FULL, *profiles}
    default = tree.child("profile")
    named = default.value if default is not None else FULL
    if default is not None and isinstance(named, str) and named not in known:
        problems.add(default, unknown_name("profile", named, known))
    if asked is not None and asked not in known:
        problems.errors.append(Problem(problems.file, None, "", unknown_name("profile", asked, known)))
    return asked if asked is not None else str(named or FULL)


def _take_over(problems: Problems, of_profile: Problems, name: str) -> None:
    """Add what is wrong under one profile only, and say so where the place alone does not."""
    for problem in of_profile.errors:
        if problem in problems.errors:
            continue
        if not problem.path.startswith(f"profiles.{name}"):
            problem = replace(problem, message=f"{problem.message} (under profile {name})")
        problems.errors.append(problem)
