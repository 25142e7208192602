"""The two programs that a bundle becomes: a device half that asks, a server half that answers. No torch here.

Messages travel as frames of `codec.framing`; docs/protocol.md describes them for others.
"""
