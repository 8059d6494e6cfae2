"""Options that several commands have."""

from __future__ import annotations

# Print the table of results in full.
TABLE = "--table"

# End with the exit status of a no.
FAIL = "--fail"
