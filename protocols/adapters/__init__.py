"""Adapters: one folder for each federated-learning framework, which alone imports it."""
