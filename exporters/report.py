"""What a packed model holds and what it weighs."""

import numpy as np

from edge_runtime.packing import entropy

_BITS = {"binary": 1.0, "ternary": 1.6, "pow2": 4.0}


def facts(model_file, size):
    """Describe a model.

    Parameters
    ----------
    model_file : edge_runtime.format.ModelFile
    size : int
        Bytes of the file.

    Returns
    -------
    dict
        Keys bytes, profile (numeric), weights, bits_per_weight (everything included) and matrices: a dict each, with keys layer, kind,
        matrix, rows, columns, encoding, planes, bits_per_weight (stored), entropy (per weight and plane), zeros (share),
        clamp.
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
    weights = sum(row["rows"] * row["columns"] for row in rows)
    return {
        "bytes": size,
        "profile": model_file.profile,
        "weights": weights,
        "bits_per_weight": 8 * size / weights,
        "matrices": rows,
    }


def text(facts):
    """Format facts, a line per matrix, then totals and how far the model is from its source.

    Parameters
    ----------
    facts : dict
        Of `facts`; optional further keys: equal_steps, agreement, output_scale, drift, and per matrix scale_error and saturation.

    Returns
    -------
    str
    """
    fitted = all("scale_error" in row for row in facts["matrices"])
    heading = "layer  kind   matrix  shape        encoding  planes  bits/weight  entropy  zeros  operands"
    lines = [heading + ("  error   clipped" if fitted else "")]
    for row in facts["matrices"]:
        shape = f"{row['rows']} x {row['columns']}"
        line = (
            f"{row['layer']:<6} {row['kind']:<6} {row['matrix']:<7} {shape:<12} {row['encoding']:<9} {row['planes']:<7} "
            f"{row['bits_per_weight']:<12.1f} {row['entropy']:<8.2f} {100 * row['zeros']:3.0f} %  ±{row['clamp']:<8}"
        )
        if fitted:
            line += f" {100 * row['scale_error']:5.2f} %  {100 * row['saturation']:.2f} %"
        lines.append(line.rstrip())
    lines.append(
        f"{facts['bytes']} bytes, {facts['weights']} weights, {facts['bits_per_weight']:.2f} bits per weight everything included, "
        f"numeric profile {facts['profile']}"
    )
    if "equal_steps" in facts:
        lines.append(
            f"verified: source and packed network agree on every logit of {facts['equal_steps']} steps"
        )
    if "agreement" in facts:
        lines += _agreement_lines(facts["agreement"])
    if "output_scale" in facts:
        lines.append(
            f"outputs pass ±16: multiply those of the model by {facts['output_scale']} (its metadata say so)"
        )
    if "drift" in facts:
        drift = facts["drift"]
        lines.append(
            f"drift: over {drift['steps']} steps without a reset, rms {drift['first_rms']:.3g} in the first tenth, "
            f"{drift['last_rms']:.3g} in the last"
        )
    return "\n".join(lines)


def _agreement_lines(agreement):
    relative = 100 * agreement["rms"] / agreement["spread"] if agreement["spread"] > 0 else 0.0
    line = (
        f"verified: largest difference {agreement['largest']:.3g} (bound {agreement['max_error']:.3g}), "
        f"rms {agreement['rms']:.3g}, {relative:.2g} % of the outputs' spread; "
    )
    if agreement["same_choice"] < 1:
        line += f"same greatest output in {100 * agreement['same_choice']:.1f} % of "
    lines = [f"{line}{agreement['steps']} steps"]
    if agreement["inputs"] == "standard normal":
        lines.append(
            "calibrated on standard normal numbers: with --calibrate DATA.npz ranges fit your inputs"
        )
    return lines
