"""From records to conclusions: summaries, episodes, findings, advice."""
