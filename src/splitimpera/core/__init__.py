"""The ground floor: errors, units, bounds, files, statistics. No torch, no records."""
