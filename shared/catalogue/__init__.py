"""What a service item is: the matter model in GB/T 39046 terms, its files, their loader and look-up."""
