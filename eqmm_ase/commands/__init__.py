"""The commands of `eqmm`, one module each, imported when called."""
