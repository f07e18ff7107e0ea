"""Planted bugs, one for each rule of the protocol that has an outcome to break: proof that the auditors can fail.

Each replaces one function, and is caught on its pinned seed. `python -m tests.simulation.mutants [RULE...]` looks
for seeds anew.
"""
