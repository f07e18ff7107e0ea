"""Runs the counting process for tests: prints `ready` when its partitions are there."""

import logging
import sys

from odradek_engine.stats import run_stats

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    target, namespace, data_dir = sys.argv[1:]
    run_stats(target, namespace, data_dir, session_timeout=3.0, on_ready=lambda: print("ready", flush=True))
