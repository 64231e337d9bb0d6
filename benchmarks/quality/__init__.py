"""Do chains help? Papers with reference summaries, summarized in five ways by the same model."""
