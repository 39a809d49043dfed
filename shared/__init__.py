"""What two or more services need and none of them owns. It imports no service."""
