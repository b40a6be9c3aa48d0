"""The network: from positions and charges to energy, forces, potential and charges."""
