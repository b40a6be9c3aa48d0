"""The topology of a user's simulation: elements, charges, residues, bonds, whatever wrote it."""

from datagen.cutting.topology.reading import quiet, read_topology
from datagen.cutting.topology.sites import Topology, TopologyError

__all__ = ["Topology", "TopologyError", "quiet", "read_topology"]
