"""A stand-in for GPU4PySCF: its interface and its traps, computed by PySCF on the CPU.

What labels use of the real one, and its signatures, stands in `tests/datagen/labels`, where both
are compared with it.
"""

import cupy

__version__ = "1.9.0+stand-in"

cupy.cuda.runtime.getDeviceCount()  # at import, as the real one
cupy.get_default_memory_pool().set_limit(fraction=0.9)
