"""`civicstream truth`: what was detected beside what the simulator says happened."""
