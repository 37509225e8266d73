"""The link as processes: a device, a server, a radio channel between them, and somebody who listens."""
