# SPDX-License-Identifier: MIT
"""SPHERE files as LDC's discs hold them, made for tests."""

import numpy as np


def sphere_bytes(samples, rate=16000, coding="pcm", byte_order="<", fields=()):
    """A file of one channel: int16 samples [shape=(n,)] with a header of 1024 bytes.

    `fields` are further or other lines of the header: (name, type, value).
    """
    lines = {
        "database_id": ("-s4", "WSJ0"),
        "channel_count": ("-i", 1),
        "sample_count": ("-i", len(samples)),
        "sample_rate": ("-i", rate),
        "sample_min": ("-i", int(samples.min())),
        "sample_n_bytes": ("-i", 2),
        "sample_byte_format": ("-s2", {"<": "01", ">": "10"}[byte_order]),
        "sample_sig_bits": ("-i", 16),
        "sample_coding": (f"-s{len(coding)}", coding),
    }
    lines.update({name: (kind, value) for name, kind, value in fields})
    text = "".join(f"{name} {kind} {value}\n" for name, (kind, value) in lines.items())
    header = f"NIST_1A\n   1024\n{text}end_head\n".encode()
    assert len(header) <= 1024
    return header.ljust(1024) + np.asarray(samples, byte_order + "i2").tobytes()
