"""Learning an embedding: recipes, network, losses, sampling, augmentation, the training loop."""
