"""Files that are there whole or not at all, whenever a process is ended or a disk is full."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, write) -> None:
    """Call `write` with a path beside `path`, flush what it wrote to the disk, and rename it into place.

    Raises:
        OSError: the system refuses it; the error names `path`.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        write(partial)
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
