"""A log for tests: one thread, no clock of its own, and everything that a real log may do, by a seed."""

from __future__ import annotations

from .clients import SimulatedConsumer, SimulatedProducer
from .log import Faults, SimulatedLog, SimulatedProcess

__all__ = ["Faults", "SimulatedConsumer", "SimulatedLog", "SimulatedProcess", "SimulatedProducer"]
