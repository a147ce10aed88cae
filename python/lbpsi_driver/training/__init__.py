"""From a foundation model to the fitted potential: the stages of ``train``."""
