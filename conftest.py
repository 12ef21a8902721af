"""The root of every test run: loads the shared fixtures after coverage has started."""

pytest_plugins = ["undercroft.shared.testing"]
