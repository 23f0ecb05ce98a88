"""Measurements: `python -m bench [PART OF A NAME ...]` runs them, prints a table and writes build/bench.json.
With parts, what was measured earlier and is not measured now stays in it.

A module `bench/bench_*.py` has a function `benchmarks()` that yields `bench.measure.Benchmark`s. Each is measured
before the next one is asked for: a `with` around the `yield` holds what the measurement needs and takes it down again.
"""
