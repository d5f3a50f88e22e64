"""glm-nano, the bundled model: its curriculum, its vocabulary, its training recipe and how it is evaluated."""
