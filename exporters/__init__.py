"""Turn trained networks into packed model files.

- `FORMAT.md`: the file format and its arithmetic
- `graph`: a trained float network, `Network`
- `from_torch`, `from_onnx`: a `Network` from a module, an exported program, a checkpoint or an ONNX file
- `pack`: a `Network` becomes a `ModelFile` that is proven to agree with it (`planes`, `quantize`, `search`, `agreement`)
- `trade`: size against error against speed
- `from_checkpoint`: a checkpoint of `training.train` becomes a `ModelFile`; `verify` compares every bit
- `dequantize`, `to_onnx`: a `ModelFile` as a `Network`, a `Network` as ONNX; `to_c_header`: a C array
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
