"""Finds out what is wrong with a deployment, and says what to do.

``gathering.py`` asks the stores and the service, and changes nothing but the record's write probe;
``facts.py`` is what it brings; each ``…_checks.py`` turns facts into findings and touches nothing;
``report.py`` shows them.
"""
