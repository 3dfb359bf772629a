"""Live collections over HTTP."""
