"""One wire structure per kind, JSON to model and back; the only place that knows nil, empty and defaults."""
