"""The way to the API server: list, watch and mirror over aiohttp; apply, events and leases."""
