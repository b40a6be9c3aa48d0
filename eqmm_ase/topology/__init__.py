"""The topology of a user's simulation: elements, charges, residues, bonds, whatever wrote it."""

from eqmm_ase.topology.reading import quiet, read_topology
from eqmm_ase.topology.sites import Topology, TopologyError

__all__ = ["Topology", "TopologyError", "quiet", "read_topology"]
