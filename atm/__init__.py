"""The system under test: policy, merging, encoder, JSCC codec, channel and link.

Part of the distribution ``atm-privacy``.
"""
