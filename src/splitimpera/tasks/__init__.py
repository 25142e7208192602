"""What targets, quality, saliency's scalar and post-processing are: one small file a task."""
