"""The stages, each a pure loss over its networks."""
