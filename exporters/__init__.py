"""Turn trained networks into packed model files.

- `FORMAT.md`: the file format and its arithmetic
- `graph`: a trained float network, `Network`
- `from_torch`, `from_onnx`: a `Network` from a module, an exported program, a checkpoint or an ONNX file
- `from_checkpoint`: a checkpoint of `training.train` becomes a `ModelFile`
- `verify`: source and packed network on the same vectors, bit for bit
- `report`: what a file holds and what it weighs

``python -m exporters SRC -o model.ernn`` does all of it and writes nothing that it has not verified.
"""

import importlib

__all__ = ["from_onnx", "from_torch"]

_MODULES = {"from_onnx": "exporters.import_onnx", "from_torch": "exporters.import_torch"}


def __getattr__(name):
    # torch and onnx are optional: what needs them is imported when it is used.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
