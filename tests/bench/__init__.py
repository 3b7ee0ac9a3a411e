"""Benchmarks: ratios measured side by side in one run. They print; they assert nothing."""
