"""The verbs of the command line, one module each: arguments in, facts out, no work of their own."""
