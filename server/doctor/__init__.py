"""Finds out what is wrong with a deployment, and what to do about it.

``collecting.py`` asks the stores and changes nothing but the record's write probe; ``facts.py`` is
what it returns; each ``…_checks.py`` turns facts into findings and touches nothing;
``diagnosis.py`` makes all checks.
"""
