"""The program as a shell or ``python -m charrnn`` starts it."""

import sys


def main() -> None:
    """Import the commands and run; Ctrl-C leaves with 130 from the first moment on."""
    try:
        from charrnn.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
