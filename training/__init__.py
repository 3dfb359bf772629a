"""From texts and teachers to an encoder."""
