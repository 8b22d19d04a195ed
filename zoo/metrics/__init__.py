"""Everything that judges images: feature extractors, and the distances between what they see."""
