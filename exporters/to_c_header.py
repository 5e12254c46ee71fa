"""A packed model as a C array, for firmware."""

import re


def c_header(data, name):
    """Write a model's bytes as a header.

    Parameters
    ----------
    data : bytes
        The packed file.
    name : str
        C identifier of the array; `<name>_size` is its length.

    Returns
    -------
    str
        The array is const and aligned to 64 bytes, so with ER_MODEL_BORROW and the kernel "scalar" it can
        be used where it is, in flash.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"{name!r} is not a C identifier")
    guard = f"{name.upper()}_H"
    lines = [
        "    " + " ".join(f"{byte:3d}," for byte in data[offset : offset + 20])
        for offset in range(0, len(data), 20)
    ]
    body = "\n".join(lines)
    return f"""/* A packed model for edge_runtime: er_model_create({name}, {name}_size, ...). */
#ifndef {guard}
#define {guard}

#include <stddef.h>

static const size_t {name}_size = {len(data)};
static const unsigned char {name}[{len(data)}]
#if defined(__GNUC__)
    __attribute__((aligned(64)))
#endif
    = {{
{body}
}};

#endif
"""


def identifier(path):
    """Make a C identifier of a file name without its ending."""
    name = re.sub(r"\W", "_", path.stem, flags=re.ASCII)
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"
