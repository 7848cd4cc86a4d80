"""Boot: reads settings, names the implementations, wires everything, and runs the server."""
