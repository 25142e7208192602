"""What people look at: terminal account, results file, table, pictures and the HTML report. Compute, then draw."""
