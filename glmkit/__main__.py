"""`python -m glmkit` is the command `glmkit`."""

import sys

from glmkit.cli import main

sys.exit(main())
