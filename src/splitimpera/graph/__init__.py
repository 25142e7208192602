"""The traced network: nodes, layers, and every cut that it legally has."""
