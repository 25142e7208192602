"""Step 1: the cumulative-saliency curve, from one forward and one backward pass a batch."""
