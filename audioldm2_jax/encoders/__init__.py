"""Calls of the frozen networks, each once: for sampling, training, pre-encoding and evaluation.

Every function is pure. `params` and `config` are those of the one part that the function names.
"""
