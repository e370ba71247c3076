"""The roof: the command line, the embedded servers, and what starts and watches all parts."""
