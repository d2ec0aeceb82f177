"""The command line: one thin file per command."""

import sys


def main() -> None:
    """Entry point. The commands are imported here, so that Ctrl-C is answered meanwhile, too."""
    try:
        from mcad_mobile.cli.command import run

        run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)  # 128 and SIGINT's number, as shells have it


__all__ = ["main"]
