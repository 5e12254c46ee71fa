# SPDX-License-Identifier: MIT
"""Benchmark: this runtime against others on whole models, in one interleaved run.

workloads        the networks: sizes, random weights, the ternary model, input, references
onnx_models      the same networks as ONNX files (needs onnx and onnxruntime)
litert_models    the same networks as .tflite files (needs ai-edge-litert)
contenders       who takes part: the command of each worker
native           compiles the workers in C
python_worker    the workers in Python
measure          the interleaved run; medians, percentiles, ratios
report, plot     table and picture
"""
