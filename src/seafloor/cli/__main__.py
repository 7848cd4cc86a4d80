"""``python -m seafloor.cli``."""

from __future__ import annotations

import sys

from seafloor.cli.entry import main

sys.exit(main())
