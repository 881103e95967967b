"""Training on labelled cases: fine-tuning, its validation, and prediction with what it made."""
