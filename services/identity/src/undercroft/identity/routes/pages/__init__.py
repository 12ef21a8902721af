"""The HTML that people see: sign-in and everything around it, without a script being needed."""
