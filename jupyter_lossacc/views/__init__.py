"""What a person sees: text, figures, panel."""
