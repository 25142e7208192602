"""The frozen records that the stages hand on, and the protocols of the two seams. No torch here.

Units are SI and stand in the names: `_s`, `_bytes`, `_bps`; fractions are plain numbers between 0 and 1.
"""
