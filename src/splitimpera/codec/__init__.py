"""Tensors <-> bytes. `decode(payload, erased)` is where packet loss becomes lost values."""
