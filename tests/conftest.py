"""What every test may ask for."""

pytest_plugins = ["tests.support.real_parts", "tests.support.stack", "tests.support.whole_stack"]
