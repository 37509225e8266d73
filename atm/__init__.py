"""The system under test: policy, merging, encoder, JSCC codec, channel and link."""
