"""``python -m lbpsi_driver VERB``."""

import sys

from lbpsi_driver.cli import main

if __name__ == "__main__":
    sys.exit(main())
