"""What the tests of the docs need: pages as steps, and a newcomer who follows them."""
