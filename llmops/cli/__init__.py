"""The command line: arguments to typed values, dispatch, and the one place that prints and exits."""
