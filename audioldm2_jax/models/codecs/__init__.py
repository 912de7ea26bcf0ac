"""Neural audio codecs: waveform -> codes of a residual quantiser -> waveform."""
