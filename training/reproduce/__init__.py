# SPDX-License-Identifier: MIT
"""The paper's experiments and their successors, each network trained, packed and scored by one command.

::

    python -m training.reproduce --list
    python -m training.reproduce --only 'digits-theo-*-ternary-*' --jobs 3 --runs runs
    python -m training.reproduce --results --runs runs

:mod:`row` says what a network to train is, and what must be known of it after; :mod:`digits`, :mod:`characters` and
:mod:`an4` are the tasks, each with a grid of rows, and :mod:`trainer` what they share; :mod:`grid` chooses rows and keeps
their folders; :mod:`engine` and :mod:`ray_engine` train them on this machine or over a cluster. Of what came of them
:mod:`summary` makes means, errors and verdicts, :mod:`results` a file, :mod:`report` tables and :mod:`pictures` pictures,
beside :mod:`literature`; :mod:`again` compares rows that were trained once more.

Source: Ott, Lin, Zhang, Liu, Bengio, "Recurrent Neural Networks With Limited Numerical Precision", 2016; Hou et al.,
"Normalization Helps Training of Quantized LSTM", NeurIPS 2019.
"""
