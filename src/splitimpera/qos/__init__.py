"""Step 3: requirements, and the plan that meets them best."""
