"""What nodes say to one another on port 9849: messages and their byte form."""
