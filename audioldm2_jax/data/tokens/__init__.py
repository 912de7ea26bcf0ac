"""Token stores: recordings as semantic tokens and a codec's codes, written once, read at random."""
