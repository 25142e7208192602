"""The communication simulator: what a link does to frames. No torch here."""
