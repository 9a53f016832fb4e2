"""Benchmarks: Zenith compared with its peers in one run on one machine, as ratios (docs/performance.md)."""
