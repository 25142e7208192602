"""A deployed run beside what its design predicted: `verify` reads the logs of `infer` and says what is off."""
