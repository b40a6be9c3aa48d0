"""The topology of a user's simulation: elements, charges, residues, bonds, whatever wrote it."""

from datagen.topology.reading import quiet, read_topology
from datagen.topology.sites import Topology, TopologyError

__all__ = ["Topology", "TopologyError", "quiet", "read_topology"]
