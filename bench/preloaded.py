"""Imported by the idle process that all probes are forks of: it loads what they need, and computes nothing."""

from attention_arena.catalogue import load_catalogue
from bench import probe
from bench.registry import import_peers

import_peers()
load_catalogue()
__all__ = ["probe"]
