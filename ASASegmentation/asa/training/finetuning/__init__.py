"""Fine-tuning on labelled cases: training, validation and prediction."""
