"""Benchmarks of the variants' layers against other implementations; run from a checkout, not part of the package."""
