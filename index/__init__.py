"""The durable inverted index: format, builder, store, search; the compiled core is `index.core`."""
