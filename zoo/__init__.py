"""GAN zoo."""
