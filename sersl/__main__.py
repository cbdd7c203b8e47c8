"""`python -m sersl <verb>`: the same as the command `sersl`."""

import sys

from sersl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
