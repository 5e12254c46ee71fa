# SPDX-License-Identifier: MIT
"""The paper's experiments and their successors, each network trained, packed and scored by one command.

::

    python -m training.reproduce --list
    python -m training.reproduce --only 'digits-theo-*-ternary-*' --jobs 3 --runs runs
    python -m training.reproduce --results --runs runs

:mod:`row` says what a network to train is; :mod:`digits`, :mod:`characters` and :mod:`an4` are the tasks, each with a
grid of rows; :mod:`grid` chooses rows and keeps their folders; :mod:`engine` and :mod:`ray_engine` train them on this
machine or over a cluster; :mod:`results` and :mod:`pictures` write what came of them.

Source: Ott, Lin, Zhang, Liu, Bengio, "Recurrent Neural Networks With Limited Numerical Precision", 2016; Hou et al.,
"Normalization Helps Training of Quantized LSTM", NeurIPS 2019.
"""
