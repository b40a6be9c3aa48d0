"""The second-order solver of the stand-in."""

from __future__ import annotations

import numpy as np

from gpu4pyscf.scf.hf import SCF, _on_host


class _CIAH_SOSCF(SCF):  # noqa: N801 - the real one's name
    """Takes what comes first for orbitals, and those it has before a density."""

    def kernel(self, mo_coeff=None, mo_occ=None, dm0=None):
        orbitals = self.host.mo_coeff if mo_coeff is None else _on_host(mo_coeff)
        occupations = self.host.mo_occ if mo_occ is None else _on_host(mo_occ)
        if orbitals is None or occupations is None:
            return self.host.kernel(dm0=_on_host(dm0))
        overlap = np.einsum("...pi,pq,...qj->...ij", orbitals, self.host.get_ovlp(), orbitals)
        assert np.allclose(overlap, np.eye(overlap.shape[-1])), "no orbitals: a density?"
        return self.host.kernel(orbitals, occupations)
