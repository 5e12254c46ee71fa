# SPDX-License-Identifier: MIT
"""Whether a confidence of 0.9 means that nine words in ten are right."""

from apps.evaluate.metrics import align

BINS = 10


def outcomes(heard):
    """Pair each word heard with whether it was said.

    Parameters
    ----------
    heard : iterable of apps.evaluate.tradeoff.Heard

    Returns
    -------
    list of (float, bool)
        Confidence, right.
    """
    results = []
    for item in heard:
        position = 0
        for expected, label in align(item.reference, [label for label, _ in item.words]):
            if label is not None:
                results.append((item.words[position][1], expected == label))
                position += 1
    return results


def calibration(pairs):
    """Bin words by confidence.

    Parameters
    ----------
    pairs : sequence of (float, bool)
        As `outcomes` returns them.

    Returns
    -------
    dict
        bins : list of dict with low, high, count, confidence (mean) and right (share; both None in an empty bin);
        words : int; expected_calibration_error : mean distance of confidence and share right, weighted by count, or
        None without words.
    """
    bins = []
    error = 0.0
    for index in range(BINS):
        inside = [(c, r) for c, r in pairs if min(int(c * BINS), BINS - 1) == index]
        count = len(inside)
        confidence = sum(c for c, _ in inside) / count if count else None
        right = sum(r for _, r in inside) / count if count else None
        if count:
            error += abs(confidence - right) * count
        bins.append(
            {
                "low": index / BINS,
                "high": (index + 1) / BINS,
                "count": count,
                "confidence": confidence,
                "right": right,
            }
        )
    return {
        "bins": bins,
        "words": len(pairs),
        "expected_calibration_error": error / len(pairs) if pairs else None,
    }


def table(result):
    """Lines of text: a line per bin that is not empty."""
    lines = [f"{'confidence':<12}{'words':>7}{'mean':>8}{'right':>9}"]
    for part in result["bins"]:
        if part["count"]:
            limits = f"{part['low']:.1f} - {part['high']:.1f}"
            lines.append(
                f"{limits:<12}{part['count']:>7}{part['confidence']:>8.2f}{100 * part['right']:>7.1f} %"
            )
    error = result["expected_calibration_error"]
    lines.append(
        "expected calibration error "
        + ("-" if error is None else f"{error:.3f} over {result['words']} words")
    )
    return "\n".join(lines)
