"""tf.events files, kept byte for byte; scalars decoded."""
