"""One folder per scheme, always params, messages, states, client, server; they do not know
each other.
"""
