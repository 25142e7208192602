"""Tensors <-> bytes. `decode(payload, erased)` is where packet loss becomes lost values.

Payloads may come from anywhere: a damaged one ends in a CodecError or in tensors of the plan's shapes, and decoding
allocates in proportion to these tensors and to the payload, never to a size that the payload claims.

`elements` and `quantised` write numbers, `entropy` and `zstd` make them smaller, `concealment` and `fec` see to losses,
`images` writes images, `codecs` joins them by name from `constants`, which `container` puts into files. `framing` cuts
a payload into packets and puts it together again.
"""
