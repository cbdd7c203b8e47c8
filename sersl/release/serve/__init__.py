"""A model as a service: HTTP, WebSocket and a page."""
