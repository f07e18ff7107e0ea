"""`python -m odradek.cli`."""

from . import main

main()
