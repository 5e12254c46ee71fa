"""Turn trained networks into packed model files.

- `FORMAT.md`: the file format and its arithmetic
- `from_checkpoint`: a checkpoint of `training.train` becomes a `ModelFile`
- `verify`: source and packed network on the same vectors, bit for bit
- `report`: what a file holds and what it weighs

``python -m exporters SRC -o model.ernn`` does all of it and writes nothing that it has not verified.
"""
