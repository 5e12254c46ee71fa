# SPDX-License-Identifier: MIT
"""Binding to the C library: `ffi` and `lib`. The only module that touches cffi.

The declarations are not repeated here: they are the part of the public header between the markers
``/* cffi: begin */`` and ``/* cffi: end */``. The library is the first of

1. the file named by the environment variable ``EDGE_RUNTIME_LIBRARY`` (for tests of another build),
2. the file beside this module,
3. the file in the installed distribution (editable installs).

The header is the one beside the library, else ``native/include`` of the checkout.
"""

import importlib.metadata
import os
import pathlib
import sys

import cffi

_HERE = pathlib.Path(__file__).resolve().parent
_HEADER = "edge_runtime.h"
_LIBRARY = {"darwin": "libedge_runtime.dylib", "win32": "edge_runtime.dll"}.get(
    sys.platform, "libedge_runtime.so"
)


def _find_library():
    """Path of the shared library; raises ImportError with the places looked at."""
    override = os.environ.get("EDGE_RUNTIME_LIBRARY")
    if override:
        path = pathlib.Path(override).resolve()
        if not path.is_file():
            raise ImportError(f"EDGE_RUNTIME_LIBRARY: no such file: {path}")
        return path
    candidates = [_HERE / _LIBRARY]
    try:
        distribution = importlib.metadata.distribution("edge-runtime")
        candidates.append(pathlib.Path(distribution.locate_file(f"edge_runtime/{_LIBRARY}")))
    except importlib.metadata.PackageNotFoundError:
        pass
    for path in candidates:
        if path.is_file():
            return path
    raise ImportError(
        "the edge_runtime library is not built; run: python -m pip install -e . (looked for "
        + ", ".join(map(str, candidates))
        + ")"
    )


def _find_header(library):
    """Path of the public header that belongs to a library."""
    candidates = [
        library.parent / _HEADER,
        library.parent / "include" / _HEADER,
        _HERE.parent / "native" / "include" / _HEADER,
    ]
    for path in candidates:
        if path.is_file():
            return path
    raise ImportError(f"{_HEADER} not found (looked for {', '.join(map(str, candidates))})")


def _declarations(header):
    """Text between the cffi markers of the header."""
    text = header.read_text(encoding="utf-8")
    try:
        start = text.index("/* cffi: begin */")
        end = text.index("/* cffi: end */", start)
    except ValueError:
        raise ImportError(f"{header}: cffi markers not found") from None
    return text[start:end]


library_path = _find_library()
ffi = cffi.FFI()
ffi.cdef(_declarations(_find_header(library_path)))
# The library stays mapped until the process ends: objects that outlive this module, and daemon threads that are inside
# when Python ends, still need its code.
lib = ffi.dlopen(str(library_path), ffi.RTLD_NOW | getattr(ffi, "RTLD_NODELETE", 0))
# Functions are looked up now: cffi does so at their first use, under a lock that a signal handler which interrupts just
# that would wait for until the end of time.
for _name in dir(lib):
    getattr(lib, _name)
