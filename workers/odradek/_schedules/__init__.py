"""Schedules: when workflows are started, and the system workflow that starts them.

`spec` is what users write, `times` works out the moments, both without any clock.
"""
