"""Prove an export: source and packed network on the same vectors."""

import numpy as np

from edge_runtime import Model

STEPS = 600  # per run: 12 s of speech
_SEED = 20261121


class MismatchError(RuntimeError):
    """Source and packed network disagree; the message says where."""


def test_vectors(model_file, runs=4):
    """Make inputs that exercise the whole range of a network's input quantization.

    Parameters
    ----------
    model_file : edge_runtime.format.ModelFile
    runs : int
        Their spread doubles from run to run; the last one saturates.

    Returns
    -------
    float32 array [shape=(runs, STEPS, input_size)]
    """
    rng = np.random.default_rng(_SEED)
    scale, offset = model_file.input_scale, model_file.input_offset
    levels = rng.standard_normal((runs, STEPS, len(scale))) * (12 * 2.0 ** np.arange(runs))[:, None, None]
    # Speech moves slowly: half of the channels are smoothed, so that states wander to their ends.
    smooth = levels[..., ::2]
    for t in range(1, STEPS):
        smooth[:, t] = 0.9 * smooth[:, t - 1] + 0.3 * smooth[:, t]
    safe = np.where(scale == 0, 1, scale)
    return ((levels - offset) / safe).astype(np.float32)


def verify(network, data, model_file):
    """Compare a fake-quantized network with the packed file in the C runtime, integer for integer.

    Parameters
    ----------
    network : training.network.DigitNet
        The source.
    data : bytes
        The packed file.
    model_file : edge_runtime.format.ModelFile
        What `data` was made from.

    Returns
    -------
    steps : int
        How many steps were compared.

    Raises
    ------
    MismatchError
        If a single logit differs.
    """
    import torch

    vectors = test_vectors(model_file)
    with torch.no_grad():
        source, _ = network(torch.from_numpy(vectors), network.quantize())
    source = source.numpy().transpose(1, 0, 2).astype(np.int64)
    model = Model.from_bytes(data)
    for run, (x, want) in enumerate(zip(vectors, source, strict=True)):
        stream = model.stream()
        found = stream.run(x) * np.float32(2048)
        if not np.array_equal(found, want):
            step, output = np.argwhere(found != want)[0]
            raise MismatchError(
                f"run {run}, step {step}, output {output}: source {want[step, output]}, packed {found[step, output]:.0f}; "
                f"{np.count_nonzero(found != want)} of {want.size} logits differ"
            )
    return vectors.shape[0] * vectors.shape[1]
