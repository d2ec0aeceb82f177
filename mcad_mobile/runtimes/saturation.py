"""Do ONNX Runtime's 8-bit kernels overflow on this processor?"""

from __future__ import annotations

import base64
import functools

import numpy as np
import onnxruntime as ort

# ONNX Runtime takes exact 8-bit kernels for this option. It says that they are the same where the
# processor has VNNI; measured there, the image tower takes 2.5 times as long with them.
# So it is set only where it is needed.
EXACT_KERNELS = ("session.x64quantprecision", "1")

# A MatMulInteger of "a" [M, 64] uint8 by 127s [64, 32] int8: 159 bytes, so that nothing has to be
# shipped beside this file and Saturation.java; tests/unit/test_saturation.py builds the same.
PRODUCTS = (
    "CAgSADqSAQozCgVzaGFwZRIBYiIPQ29uc3RhbnRPZlNoYXBlKhYKBXZhbHVlKgoIARADKgF/QgF2oAEEChsKAWEKAWIS"
    "BHN1bXMiDU1hdE11bEludGVnZXISBHN1bXMqDwgCEAc6AkAgQgVzaGFwZVoRCgFhEgwKCggCEgYKAAoCCEBiFAoEc3Vt"
    "cxIMCgoIBhIGCgAKAgggQgQKABAN"
)
_ROWS, _TERMS, _LARGEST = 5, 64, 255
_EXACT_SUM = _TERMS * _LARGEST * 127


@functools.cache
def saturates() -> bool:
    """Say whether products of 8 bits are added in 16, which overflow: x86 processors with AVX2 or
    AVX-512 and without VNNI do so (AMD Zen 1 to 3, Intel Haswell to Comet Lake and Skylake-X).

    The kernel itself is asked, by the largest sum there is: what a processor says that it can do
    may not be what it is run with (emulators, virtual machines). Takes some 5 ms, once.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    session = ort.InferenceSession(
        base64.b64decode(PRODUCTS), options, providers=["CPUExecutionProvider"]
    )
    largest = np.full((_ROWS, _TERMS), _LARGEST, np.uint8)
    (sums,) = session.run(None, {"a": largest})
    return bool((sums != _EXACT_SUM).any())
