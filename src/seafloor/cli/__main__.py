"""``python -m seafloor.cli``."""

from __future__ import annotations

import sys

from seafloor.cli.main import main

sys.exit(main())
