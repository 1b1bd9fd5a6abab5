"""INSECURE: the server sees every vector. For testing everything around a scheme."""

from secagg.schemes.plain.params import PlainInsecure

__all__ = ["PlainInsecure"]
