"""JSON shapes shared by the server and its clients."""
