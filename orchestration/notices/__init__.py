"""What is wrong at night, and who is told of it: once when it begins, and once when it is over."""
