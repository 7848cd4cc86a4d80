"""The source is an export of Seafloor's own."""
