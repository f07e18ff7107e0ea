"""A log for tests: one thread, no clock of its own, and everything that a real log may do, by a seed."""

from __future__ import annotations

from .log import Faults, SimulatedLog, SimulatedProcess

__all__ = ["Faults", "SimulatedLog", "SimulatedProcess"]
