"""Measures Feedmill beside its goals, beside other programs and beside another checkout of itself.

Run it with ``make bench`` or ``python -m benchmarks --help``; ``docs/performance.md`` explains what
the figures mean. A checkout is driven from outside only: settings, the HTTP interface, the layout
in Redis, and ``shared.queue.JobQueue`` in a process of that checkout.
"""
