"""What TensorBoard shows: folders with tf.events files."""
