# SPDX-License-Identifier: MIT
"""Quantization-aware training of spoken-word networks.

Data half (needs NumPy and the package; soundfile to read FLAC; never torch):

- `labels`: the outputs of the network
- `corpus`: which data sets, their licenses, what is trained on and what is held out
- `augment`: what happens to waveforms, `cepstral`: what happens to cepstra
- `strings`: one training example; `batches`: endless reproducible batches of them
- `devset`: what a training run is judged by
- `ctc`: what the outputs of a network say
- `texts`: texts of character language models
- `wsj`: the Wall Street Journal corpus, for its owners; `sphere`: recordings of LDC corpora

Network half (needs torch):

- `quantizers`: weights to integers; `fakequant`: the packed model's arithmetic with gradients
- `network`: the network; `train`: the training loop; `evaluate_dev`: its scores

Everything is found through the environment variable EDGE_RUNTIME_DATA.
"""
