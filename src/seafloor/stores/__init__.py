"""What must be kept. A protocol per store, implementations beside it; only boot names them."""
