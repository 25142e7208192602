"""The figures' colours."""

from __future__ import annotations

COLOURS = {"LC": "#E69F00", "RC": "#0072B2", "SC": "#009E73"}  # Okabe and Ito: told apart without colour vision
PARTS = {"device": "#E69F00", "encode": "#CC79A7", "link": "#56B4E9", "queue": "#D55E00", "server": "#009E73"}
PALETTE = ("#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#D55E00")  # the same authors'
CURVE_COLOUR = "#0072B2"
STAR_COLOUR = "#D55E00"
BAR_COLOUR = "rgba(128,128,128,0.35)"
DESIGN_COLOURS = ("#56B4E9", "#CC79A7", "#F0E442", "#D55E00", "#0072B2", "#009E73", "#E69F00")  # the same authors'
