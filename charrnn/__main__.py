"""``python -m charrnn``."""

from charrnn.cli.app import main

main()
