"""Write a verification's files, together."""

from __future__ import annotations

from pathlib import Path

from splitimpera.core.files import check_writable
from splitimpera.core.folders import write_together
from splitimpera.report.html.verification_page import verification_html
from splitimpera.report.verified import Verification

FILES = ("verification.json", "verify.html")


def write_verification(verification: Verification, folder: Path) -> list[Path]:
    """Write verification.json and verify.html; each appears whole or not at all.

    Raises:
        OutputError: the folder cannot be written; what was there is as it was.
    """
    check_writable(folder, "--out", FILES)
    page = verification_html(verification).encode("utf-8", "backslashreplace")
    return write_together(folder, dict(zip(FILES, (verification.to_json(), page), strict=True)), "--out")
