"""Rule sets as tables: values in, values out, no kernel."""
