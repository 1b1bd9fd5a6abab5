"""The demonstration: a real API behind twenty gateways, with generated traffic and attacks."""
