"""Non-uniform FFTs by finufft: sums over scattered points of waves on a regular grid.

finufft is an optional dependency (Apache-2.0; the extra `periodic`), imported when a plan is made.
A plan holds for one grid and is used again for points that move.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from eqmm_ase.arrays import FloatArray

_COARSE = 1e-7
"""Down to this tolerance a grid finer by 1.25 is enough. Long waves, which count most, have less of
the error on it than on finer ones with the narrow kernels that those allow."""


class NonUniformFFT:
    """Both sums between points x_k in 2π-periodic space and the grid of waves e^(±i n·x).

    Parameters
    ----------
    modes: odd numbers of waves along three axes; n runs from −(m−1)/2 to (m−1)/2.
    tolerance: relative, of the sums as a whole.
    dtype: float32 or float64.

    Raises
    ------
    ImportError: finufft is not installed.
    """

    def __init__(self, modes: tuple[int, int, int], tolerance: float, dtype: torch.dtype) -> None:
        single = dtype == torch.float32
        self.modes = modes
        self.tolerance = max(tolerance, 1e-6 if single else 1e-14)
        self.real = np.float32 if single else np.float64
        self.complex = np.complex64 if single else np.complex128
        self._plans: dict[tuple[int, int], Any] = {}

    def to_waves(self, points: FloatArray, strengths: FloatArray) -> torch.Tensor:
        """S(n) = Σ_k q_k e^(−i n·x_k): points (3, K), strengths (K,) → (m1, m2, m3) complex."""
        if not len(strengths):
            return torch.from_numpy(np.zeros(self.modes, self.complex))
        plan = self._plan(1, 1)
        plan.setpts(*points)
        return torch.from_numpy(plan.execute(strengths.astype(self.complex)))

    def to_points(self, points: FloatArray, waves: torch.Tensor) -> torch.Tensor:
        """f(x_k) = Σ_n F(n) e^(−i n·x_k): waves (t, m1, m2, m3) → (t, K) complex."""
        if not points.shape[1]:
            return waves.new_zeros(len(waves), 0)
        plan = self._plan(2, len(waves))
        plan.setpts(*points)
        return torch.from_numpy(plan.execute(waves.numpy())).reshape(len(waves), -1)

    def _plan(self, kind: int, transforms: int) -> Any:
        if (kind, transforms) not in self._plans:
            self._plans[kind, transforms] = finufft().Plan(
                kind,
                self.modes,
                n_trans=transforms,
                eps=self.tolerance,
                isign=-1,
                dtype=np.dtype(self.complex).name,
                nthreads=torch.get_num_threads(),
                upsampfac=1.25 if self.tolerance > _COARSE else 2.0,
                showwarn=0,  # it says on stderr that float32 is float32
            )
        return self._plans[kind, transforms]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}  # plans are pointers into C


def finufft() -> Any:
    """The library.

    Raises
    ------
    ImportError: says how to install it.
    """
    try:
        import finufft as library
    except ImportError as error:
        raise ImportError(
            "periodic boxes need finufft; install it with pip install 'eqmm[periodic]'"
        ) from error
    return library
