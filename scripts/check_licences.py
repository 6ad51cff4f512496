"""Says which packages have a licence that would bind what we ship: python scripts/check_licences.py licences.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path

BINDING = re.compile(r"\bA?GPL|General Public(?! License v2.*exception)|SSPL|Commercial|Proprietary", re.I)
WEAK = re.compile(r"Lesser|LGPL|GCC-exception|exception", re.I)  # these bind the library alone


def main(path: str) -> int:
    """Return 1 if there is one."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    bound = [(name, licence) for name, _, licence, *_ in rows if BINDING.search(licence) and not WEAK.search(licence)]
    unknown = [name for name, _, licence, *_ in rows if licence in {"", "UNKNOWN"}]
    for name, licence in bound:
        print(f"{name}: {licence}")
    print(f"{len(rows)} packages, {len(bound)} with a binding licence, {len(unknown)} that name none: {unknown}")
    return 1 if bound else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
