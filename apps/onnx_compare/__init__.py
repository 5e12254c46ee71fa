# SPDX-License-Identifier: MIT
"""A packed model beside the same or another network in ONNX Runtime: ``python -m apps.onnx_compare --help``.

pair        the two sides: a model file, a float network and its ONNX forms
inputs      what goes through both: recordings, arrays, or generated numbers
outputs     logits of both sides, their agreement, and the words they lead to
speed       workers of apps.bench: latencies, memory, load time; a live stream
report      the results as a table
page        the results as an HTML page
"""
