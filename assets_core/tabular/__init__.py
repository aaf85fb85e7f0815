"""Values of users become Arrow here, and Arrow becomes what they ask for."""
