"""Byte streams that several servers share: what their logs and event files are made of."""
