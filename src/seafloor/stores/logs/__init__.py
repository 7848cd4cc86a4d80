"""What tasks print: spools addressed by offset."""
