"""What is learned: data, networks, and the tasks that join them."""
