"""The command line: `odradek`."""

from __future__ import annotations

import sys
import traceback


def main() -> None:
    """The console script. Ends the process with one of the exit codes of `cli.failures`."""
    from .app import application
    from .failures import ExitCode

    try:
        application(*sys.argv[1:2])(prog_name="odradek")
    except BrokenPipeError:  # the reader has gone, as `| head` does
        sys.stderr.close()
        sys.exit(ExitCode.OK)
    except Exception as error:
        traceback.print_exc()
        print(f"odradek: a defect of this program, please report it with the lines above: {error!r}", file=sys.stderr)
        sys.exit(ExitCode.DEFECT)
