"""What survives a kill, a power loss, a flipped bit and a full disk; see README.md."""
