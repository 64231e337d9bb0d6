"""The wire of a server on standard input and output, kept clear of everything but the protocol.

Libraries print, children inherit descriptors, and buffers are flushed when a process ends; each of
them once broke somebody's server. So the wire gets descriptors of its own, which no child inherits,
and what everybody takes for standard output leads to standard error for the rest of the process.
Nothing is put back: after the last message there is nobody to print to.
"""

import os
import sys
from typing import BinaryIO


def claimed() -> tuple[BinaryIO, BinaryIO]:
    """Where messages are read and written from now on. Call it once, before what might print."""
    sys.stdout.flush()
    # `os.dup` makes descriptors that are closed in children.
    reader, writer = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # whoever started us closed standard error
        os.dup2(nothing, 1)
    os.close(nothing)
    sys.stdout = sys.stderr
    return os.fdopen(reader, "rb"), os.fdopen(writer, "wb")
