"""What a packed model holds and what it weighs."""

import numpy as np


def entropy(weights):
    """Return the order-0 entropy of integer weights in bits per weight."""
    counts = np.unique(weights, return_counts=True)[1]
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum()) + 0.0


_BITS = {"binary": 1.0, "ternary": 1.6, "pow2": 4.0}


def layer_rows(model_file):
    """Describe the matrices of a model.

    Parameters
    ----------
    model_file : edge_runtime.format.ModelFile

    Returns
    -------
    list of dict
        Keys layer, kind, matrix, rows, columns, encoding, planes, bits_per_weight (stored), entropy, zeros (share), clamp.
    """
    rows = []
    for number, layer in enumerate(model_file.layers):
        names = ("W",) if layer.kind == "dense" else ("W_x", "W_h")
        for name, matrix in zip(names, layer.matrices, strict=True):
            rows.append(
                {
                    "layer": number,
                    "kind": layer.kind,
                    "matrix": name,
                    "rows": matrix.rows,
                    "columns": matrix.columns,
                    "encoding": matrix.encoding,
                    "planes": len(matrix.weights),
                    "bits_per_weight": _BITS[matrix.encoding] * len(matrix.weights),
                    "entropy": entropy(matrix.weights),
                    "zeros": float(np.mean(matrix.weights == 0)),
                    "clamp": matrix.clamp,
                }
            )
    return rows


def summary(model_file, size):
    """Describe a model as text: a line per matrix, then totals.

    Parameters
    ----------
    model_file : edge_runtime.format.ModelFile
    size : int
        Bytes of the file.

    Returns
    -------
    str
    """
    rows = layer_rows(model_file)
    lines = ["layer  kind   matrix  shape        encoding  planes  bits/weight  entropy  zeros  operands"]
    for row in rows:
        shape = f"{row['rows']} x {row['columns']}"
        lines.append(
            f"{row['layer']:<6} {row['kind']:<6} {row['matrix']:<7} {shape:<12} {row['encoding']:<9} {row['planes']:<7} "
            f"{row['bits_per_weight']:<12.1f} {row['entropy']:<8.2f} {100 * row['zeros']:3.0f} %  ±{row['clamp']}"
        )
    weights = sum(row["rows"] * row["columns"] for row in rows)
    lines.append(
        f"{size} bytes, {weights} weights, {8 * size / weights:.2f} bits per weight everything included"
    )
    return "\n".join(lines)
