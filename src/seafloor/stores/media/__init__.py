"""Histograms, images, tables, texts and audio: records in rows, their bulk as objects."""
