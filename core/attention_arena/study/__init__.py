"""The study file: read, checked as a whole, and expanded into a plan of runs."""

from attention_arena.study.describe import describe
from attention_arena.study.find import find_study, shipped_studies
from attention_arena.study.json_schema import study_json_schema
from attention_arena.study.load import FULL, load_study
from attention_arena.study.plan import Plan, PlannedMeasure, PlannedRun
from attention_arena.study.problems import Problem, StudyError

__all__ = [
    "FULL",
    "Plan",
    "PlannedMeasure",
    "PlannedRun",
    "Problem",
    "StudyError",
    "describe",
    "find_study",
    "load_study",
    "shipped_studies",
    "study_json_schema",
]
