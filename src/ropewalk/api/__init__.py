"""One plain function per verb. The command line makes its flags of their parameters, and prints what they return."""
