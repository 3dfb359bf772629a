"""What goes over the wire, by area: requests, checked field by field, and the shapes of answers."""
