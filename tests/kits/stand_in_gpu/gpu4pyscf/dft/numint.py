"""As in GPU4PySCF."""

from pyscf.dft.numint import NumInt as NumInt
