"""Files of frames and geometries: reading, writing, and refusing what is damaged."""
